"""Attention within packed pairs."""
