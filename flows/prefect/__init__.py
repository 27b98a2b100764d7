"""Prefect beside a campaign: its server and database, steps as tasks, what its pages show."""
