"""Campaigns, or branches of one, side by side."""
