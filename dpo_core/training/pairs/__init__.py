"""A round's pairs: reading them, and cutting them into steps and batches."""
