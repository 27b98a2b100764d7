"""What was found out about a file, kept until the file is another one.

Whoever reads a campaign looks at the same files again and again. A file counts as the one that was
seen while inode, size and times are the same; one that changed a moment ago may change again within
the same tick of the clock, so nothing is kept of it yet.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dpo_core.hashing import file_sha256

Found = TypeVar("Found")

_SETTLED_NS = 10**8
"""Much coarser than the clock of Linux's file systems, which ticks every 1 to 10 ms."""

_Which = tuple[int, ...]


def remembering(find: Callable[[Path], Found]) -> Callable[[Path], Found]:
    """`find`, which is asked again only for a file that is not the one it was asked about. What it
    finds is shared by all who ask, and not to be changed."""
    known: dict[Path, tuple[_Which, Found]] = {}

    def remembered(path: Path) -> Found:
        which = _which(path)
        kept = known.get(path)
        if kept is not None and kept[0] == which:
            return kept[1]
        found = find(path)
        if time.time_ns() - max(which[-2:]) > _SETTLED_NS and _which(path) == which:
            known[path] = which, found
        return found

    return remembered


def _which(path: Path) -> _Which:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


sha256_of = remembering(file_sha256)
"""The hash of a file's content."""
