"""Exclusive lock files: a flock that the kernel releases when its last holder dies."""

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
"""Seconds to retry: `holder` takes the lock for a moment, so one refusal is not conclusive."""

Holder = dict[str, object]
"""{"pid", "host"} of the process that holds a lock."""


@contextmanager
def hold(
    path: Path, refusal: Callable[[Holder], Exception], *, patience_s: float = _PATIENCE_S
) -> Iterator[IO[str]]:
    """Hold the lock file at `path`. Yields it, so children can hold it as well.

    Raises `refusal(holder)` when another process still holds it after `patience_s` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _acquire(file, time.monotonic() + patience_s):
            raise refusal(_read(path))
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield file


def _acquire(file: IO[str], deadline: float) -> bool:
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
    """The process that holds the lock now, or None."""
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
        holder: Holder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        holder = {"pid": "unknown", "host": "unknown"}
    return holder
