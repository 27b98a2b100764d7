"""Aggregate judgements to preferences, and measure how far their sources agree."""
