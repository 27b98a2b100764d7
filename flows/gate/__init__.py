"""Attempts at a round, questions to a person, and how small a gain the gate can detect."""
