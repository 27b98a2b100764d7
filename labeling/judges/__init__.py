"""Judges: rules, reward models, LLMs, and committees of several."""
