"""One process at a time: a flock that the kernel drops when its last holder dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_RETRY_S = 0.01
_PATIENCE_S = 0.2
"""`holder` holds the lock while it looks, so one refusal says nothing."""

Holder = dict[str, object]
"""{"pid", "host"} of the process that holds a lock."""


@contextmanager
def hold(
    path: Path, refusal: Callable[[Holder], Exception], *, patience_s: float = _PATIENCE_S
) -> Iterator[IO[str]]:
    """Hold the lock file at `path`; yields it, for children that are to hold it as well.

    Raises what `refusal` makes of its holder when somebody still has it after `patience_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _taken(file, time.monotonic() + patience_s):
            raise refusal(_read(path))
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield file


def _taken(file: IO[str], deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_RETRY_S)
        else:
            return True


def holder(path: Path) -> Holder | None:
    """Who holds the lock now, or None when nobody does."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(path)
    return None


def _read(path: Path) -> Holder:
    try:
        found: Holder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = {"pid": "unknown", "host": "unknown"}
    return found
