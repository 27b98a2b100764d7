"""Provides a Prefect database: `python -m tests.flows.prefect.provide DATABASE`."""

import sys
from pathlib import Path

from flows.prefect.server import provide_database

if __name__ == "__main__":
    provide_database(Path(sys.argv[1]))
