"""Formats of preferences, one file each: what a row of it looks like, and what it says."""
