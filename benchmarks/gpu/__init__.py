"""One command for a GPU: does training compute there what it should, and how fast?"""
