"""Results about files, cached until the file changes.

Readers of a campaign look at the same files again and again. A file counts as unchanged while its
inode, size and times are the same. One that changed a moment ago may change again within the same
tick of the clock, so its result is not cached yet.
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

Result = TypeVar("Result")

_SETTLED_NS = 10**8
"""Much coarser than the clock of Linux's file systems, which ticks every 1 to 10 ms."""
_SETTLED_ANYWHERE_NS = 2 * 10**9
"""The coarsest clock of any file system: a user's files may be on a network disk or a USB stick."""


def cache_by_file(
    find: Callable[[Path], Result],
    *,
    files: int,
    settled_ns: int | None = None,
    memory: Path | None = None,
) -> Callable[[Path], Result]:
    """`find` with a cache over the last `files` files.

    Callers share results and must not change them. settled_ns: how long a file must be unchanged
    before its result is cached. memory: a JSON file that keeps results for later processes; a
    damaged one is replaced.
    """
    known: OrderedDict[str, Result] = OrderedDict()
    if memory is not None:
        with suppress(OSError, ValueError, TypeError):
            known.update(json.loads(memory.read_text(encoding="utf-8")))

    def find_cached(path: Path) -> Result:
        which, changed_ns = _identify(path)
        if which in known:
            return known[which]
        result = find(path)
        settled = _SETTLED_NS if settled_ns is None else settled_ns
        if time.time_ns() - changed_ns > settled and _identify(path)[0] == which:
            known[which] = result
            if len(known) > files:
                known.popitem(last=False)
            if memory is not None:
                write_json(memory, known)
        return result

    return find_cached


def _identify(path: Path) -> tuple[str, int]:
    """(identity of the file, time of its last change in ns)."""
    stat = os.stat(path)
    times = stat.st_mtime_ns, stat.st_ctime_ns
    identity = (stat.st_dev, stat.st_ino, stat.st_size, *times)
    return "-".join(map(str, identity)), max(times)


cached_sha256 = cache_by_file(file_sha256, files=100_000)
"""SHA-256 of a file's content, cached within this process."""


def persistent_sha256(memory: Path) -> Callable[[Path], str]:
    """SHA-256 of a user's files, cached across processes: large models are read only once."""
    return cache_by_file(file_sha256, files=10_000, settled_ns=_SETTLED_ANYWHERE_NS, memory=memory)
