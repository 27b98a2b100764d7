"""People label in Argilla: what they are asked, and their answers."""
