"""The Prefect database of a new campaign: migrated once, copied from then on."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from dpo_core import preloaded
from flows.prefect.server import database_url

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 300


def provide(database: Path, cache: Path) -> None:
    """Provide `database` in a process of its own, as the server's child does."""
    database.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "PREFECT_HOME": str(database.parent),
        "PREFECT_API_DATABASE_CONNECTION_URL": database_url(database),
        "XDG_CACHE_HOME": str(cache),
    }
    env = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    words = ["tests.flows.prefect.provide", str(database)]
    socket = os.environ.get(preloaded.SOCKET)
    done = preloaded.run_command(socket, words, env, ROOT, TIMEOUT_S)
    assert done.returncode == 0, done.stderr


def schema(database: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 2").fetchall()


def tables_with_rows(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            name
            for (name,) in names
            if connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        ]


def test_second_database_is_a_copy_of_the_first_one_s_empty_tables(tmp_path: Path) -> None:
    cache, first, second = tmp_path / "cache", tmp_path / "a/prefect.db", tmp_path / "b/prefect.db"

    provide(first, cache)
    (empty,) = (cache / "ratchet").iterdir()
    provide(second, cache)

    assert second.read_bytes() == empty.read_bytes()
    assert schema(second) == schema(first)
    assert tables_with_rows(second) == ["alembic_version"]


def test_a_database_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    database.write_bytes(b"a campaign's own")

    provide(database, tmp_path / "cache")

    assert database.read_bytes() == b"a campaign's own"
    assert not (tmp_path / "cache").exists()


def test_without_a_place_for_the_empty_one_the_database_is_migrated(tmp_path: Path) -> None:
    cache, database = tmp_path / "cache", tmp_path / "a/prefect.db"
    cache.write_text("a file where the folder should be")

    provide(database, cache)

    assert tables_with_rows(database) == ["alembic_version"]
