"""A search engine on Argilla's own tables.

Argilla commits before it asks a search engine to index, so the tables are always current and no
index can drift. Results match Elasticsearch's; docstrings state the differences.
"""
