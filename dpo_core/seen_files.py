"""What was found out about a file, kept until the file is another one.

Whoever reads a campaign looks at the same files again and again. A file counts as the one that was
seen while inode, size and times are the same; one that changed a moment ago may change again within
the same tick of the clock, so nothing is kept of it yet.
"""

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dpo_core.atomic import write_json
from dpo_core.hashing import file_sha256

Found = TypeVar("Found")

_SETTLED_NS = 10**8
"""Much coarser than the clock of Linux's file systems, which ticks every 1 to 10 ms."""
_SETTLED_ANYWHERE_NS = 2 * 10**9
"""The coarsest clock of any: a user's files may lie on a network's disk, or a stick."""


def cache_by_file(
    find: Callable[[Path], Found],
    *,
    files: int,
    settled_ns: int | None = None,
    memory: Path | None = None,
) -> Callable[[Path], Found]:
    """`find`, which is asked again only for a file that is not one of those it was asked about
    last, so many of them. What it finds is shared by all who ask, and not to be changed.

    settled_ns: since when a file must not have changed. memory: a JSON file that keeps what was
    found for later processes; one that is damaged is made anew.
    """
    known: OrderedDict[str, Found] = OrderedDict()
    if memory is not None:
        with suppress(OSError, ValueError, TypeError):
            known.update(json.loads(memory.read_text(encoding="utf-8")))

    def remembered(path: Path) -> Found:
        which, changed_ns = _which(path)
        if which in known:
            return known[which]
        found = find(path)
        settled = _SETTLED_NS if settled_ns is None else settled_ns
        if time.time_ns() - changed_ns > settled and _which(path)[0] == which:
            known[which] = found
            if len(known) > files:
                known.popitem(last=False)
            if memory is not None:
                write_json(memory, known)
        return found

    return remembered


def _which(path: Path) -> tuple[str, int]:
    """(what says which file it is, when it last changed in ns)."""
    found = os.stat(path)
    times = found.st_mtime_ns, found.st_ctime_ns
    identity = (found.st_dev, found.st_ino, found.st_size, *times)
    return "-".join(map(str, identity)), max(times)


cached_sha256 = cache_by_file(file_sha256, files=100_000)
"""The hash of a file's content."""


def persistent_sha256(memory: Path) -> Callable[[Path], str]:
    """The same of a user's files, over processes: a model of many gigabytes is read once, not at
    each run."""
    return cache_by_file(file_sha256, files=10_000, settled_ns=_SETTLED_ANYWHERE_NS, memory=memory)
