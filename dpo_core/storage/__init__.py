"""A campaign in an object store: what outlives its machine."""
