"""One Argilla server for all workers of a run of tests, which lasts as long as the run.

The process that starts the workers listens at a socket; the first test that asks there makes it
start the server. The server ends with that process, however it ends.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from threading import Thread

import pytest

from labeling.server import Access, Credentials, running

_SOCKET = "RATCHET_TESTS_ARGILLA"
_WAITING = 64


@dataclass(frozen=True)
class SharedArgilla:
    """A running server that nobody stops. process: the one that holds its folder."""

    folder: Path
    credentials: Credentials
    process: int

    @property
    def access(self) -> Access:
        return self.credentials.access

    @property
    def port(self) -> int:
        return int(self.credentials.url.rpartition(":")[2])


def shared_argilla(folder: Path) -> SharedArgilla:
    """The server of this run; started in `folder` by the first call in any worker."""
    with Client(os.environ[_SOCKET]) as connection:
        connection.send(folder)
        found: SharedArgilla | str = connection.recv()
    if isinstance(found, str):
        pytest.fail(found)
    return found


@contextmanager
def offered() -> Iterator[None]:
    """While it is open, this process and its children may ask for the server."""
    place = Path(tempfile.mkdtemp(prefix="ratchet-"))
    os.environ[_SOCKET] = str(place / "argilla")
    listener = Listener(os.environ[_SOCKET], backlog=_WAITING)
    thread = Thread(target=_offer, args=(listener,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        with Client(os.environ.pop(_SOCKET)) as connection:
            connection.send(None)
        thread.join()
        shutil.rmtree(place)


def _offer(listener: Listener) -> None:
    found: SharedArgilla | str = ""
    with listener, ExitStack() as stack:
        while True:
            with listener.accept() as connection, suppress(EOFError, OSError):  # a killed worker
                folder: Path | None = connection.recv()
                if folder is None:
                    return
                if isinstance(found, str):
                    found = _started(folder, stack)
                connection.send(found)


def _started(folder: Path, stack: ExitStack) -> SharedArgilla | str:
    """The server, or why there is none."""
    try:
        server = stack.enter_context(running(folder))
    except Exception as error:
        return f"no Argilla server: {error}"
    return SharedArgilla(folder, server.credentials, os.getpid())
