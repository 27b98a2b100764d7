"""Which process listens on a port of this machine, by /proc: for messages about a port in use."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"
_SHOWN = 60


def describe_port_owner(port: int) -> str:
    """Such as ` by process 17 (python -m http.server)`; empty where it cannot be seen: Linux shows
    the open files of one's own processes only."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):
            if any(os.readlink(file) in sockets for file in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f" by process {process.name} ({' '.join(words).strip()[:_SHOWN]})"
    return ""


def _listening(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on the port, at any address."""
    for table in _TABLES:
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, *more = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield more[5]
