"""Preferences of other tools in, preferences for other tools out."""
