"""The two ways in which pairs go through a model."""
