"""A new Prefect database: a copy of an empty one, which is migrated once per user and version.

Prefect builds its tables by a hundred migrations, some six seconds of a core; copying the result
takes milliseconds. `python -m flows.prefect.database` makes the empty one in advance. It holds the
tables and the version of the last migration, no rows and no secrets; a server that starts on a
copy still runs whatever migrations are missing.
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from platformdirs import user_cache_path

from dpo_core.atomic import write_atomic


def url(database: Path) -> str:
    """What Prefect's setting PREFECT_API_DATABASE_CONNECTION_URL says for this file."""
    return f"sqlite+aiosqlite:///{database}"


def provide(database: Path) -> None:
    """Make `database`, the file in this process's Prefect settings, unless it is there.

    Without a place for the empty one, every database is migrated from the start.
    """
    if database.exists():
        return
    empty = _empty_database()
    if not empty.exists():
        _migrate()
        try:
            write_atomic(empty, lambda beside: _copy(database, beside))
        except OSError:
            return
    else:
        write_atomic(database, lambda beside: shutil.copyfile(empty, beside))


def _empty_database() -> Path:
    import prefect

    return user_cache_path("ratchet") / f"prefect-{prefect.__version__}.db"


def _migrate() -> None:
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


def _copy(database: Path, copy: Path) -> None:
    """All that is committed, also what still stands in the write-ahead log, in one file."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _main() -> None:
    """Make the empty database of this Prefect, by way of one that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "prefect.db")
        os.environ |= {"PREFECT_HOME": folder, "PREFECT_API_DATABASE_CONNECTION_URL": url(database)}
        provide(database)


if __name__ == "__main__":
    _main()
