"""The two paths by which pairs go through a model: fast and plain."""
