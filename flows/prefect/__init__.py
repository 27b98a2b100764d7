"""Prefect: its server and database, steps as tasks, and what its pages show."""
