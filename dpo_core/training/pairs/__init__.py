"""A round's pairs: read from its files, cut into steps and batches."""
