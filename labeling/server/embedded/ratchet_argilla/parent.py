"""Pipes to the parent in the protocol of `dpo_core.children`: JSON lines, one per direction."""

import json
import os
import queue
import shutil
import signal
import sys
import threading
from typing import Any

_EVENTS_FD = int(os.environ.get("RATCHET_EVENTS_FD", "-1"))


class Refused(Exception):
    """The request cannot be carried out; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def listen() -> "queue.Queue[str]":
    """A queue of requests as JSON; from now on this process does not outlive its parent."""
    os.set_inheritable(_EVENTS_FD, False)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    return requests


def _read(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    # SQLite keeps committed data, so a sudden end is safe.
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def send(**event: Any) -> None:
    os.write(_EVENTS_FD, (json.dumps(event) + "\n").encode())
