"""One process runs a campaign at a time: a flock that the kernel drops when its holder dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dpo_core.errors import CampaignLocked

_RETRIES = 20
_RETRY_S = 0.01


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`. Raises CampaignLocked with the holder's pid and host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _taken(file):
            raise _refusal(path)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    """Take the lock; asks again for a moment, because `holder` holds it while it looks."""
    for wait_s in (0, *[_RETRY_S] * _RETRIES):
        time.sleep(wait_s)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def holder(path: Path) -> dict[str, object] | None:
    """{"pid", "host"} of the process that holds the lock now, or None when nobody does."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(path)
    return None


def _read(path: Path) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = {"pid": "unknown", "host": "unknown"}
    return found


def _refusal(path: Path) -> CampaignLocked:
    found = _read(path)
    return CampaignLocked(
        f"{path.parent} is being run by process {found['pid']} on {found['host']}",
        f"Wait for it, watch it with `ratchet status {path.parent}`, or stop it with Ctrl-C there.",
    )
