"""A search engine that answers from Argilla's own tables.

Argilla commits before it asks a search engine to index, so the tables are never behind, and
there is no index that could drift. What Elasticsearch answers is the model, and where this
differs a docstring says so.
"""
