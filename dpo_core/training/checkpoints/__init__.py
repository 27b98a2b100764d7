"""Checkpoints, from which a killed round resumes."""
