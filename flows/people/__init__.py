"""A campaign and its people: what it waits for, and their answers."""
