"""argilla-server in one process on SQLite: no Docker, no Elasticsearch, no Redis."""
