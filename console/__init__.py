"""The console: one page from which campaigns are run.

It reads what `reporting` reads, and does what the command line does, by running its commands.
"""
