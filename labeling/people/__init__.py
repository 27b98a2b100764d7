"""People who label in Argilla: what they are asked, and their answers."""
