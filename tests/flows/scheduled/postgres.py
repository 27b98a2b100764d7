"""A PostgreSQL server of the tests' own, on a free port, gone with the test."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.prefect.server import free_port

_PATIENCE_S = 60
_USER = "postgres"  # who must be somebody else than root, whom it refuses


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database, as Prefect's settings have it."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-postgres-", dir="/tmp"))
    user = _USER if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user, user)
    data, port = folder / "data", free_port()
    make = [_binary("initdb"), "-D", str(data), "-U", _USER, "-A", "trust", "--no-sync"]
    made = subprocess.run(make, user=user, cwd="/", capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    serve = [_binary("postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(serve, user=user, cwd="/", stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while subprocess.run(_ready(port), capture_output=True).returncode != 0:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"postgresql+asyncpg://{_USER}@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(_PATIENCE_S)
        shutil.rmtree(folder)


def _ready(port: int) -> list[str]:
    return [_binary("pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-U", _USER]


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    assert path, "these tests need PostgreSQL: as root, apt-get install -y postgresql"
    return path
