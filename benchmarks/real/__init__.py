"""A pretrained chat model on two CPU cores: does it learn to follow instructions, at what price?"""
