"""Formats of preferences, one file each: which rows fit, and how they are read."""
