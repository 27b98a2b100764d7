"""What was found out about a file, kept until the file is another one.

Whoever reads a campaign looks at the same files again and again. A file counts as the one that was
seen while inode, size and times are the same; one that changed a moment ago may change again within
the same tick of the clock, so nothing is kept of it yet.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dpo_core.hashing import file_sha256

Found = TypeVar("Found")

_SETTLED_NS = 10**8
"""Much coarser than the clock of Linux's file systems, which ticks every 1 to 10 ms."""


def remembering(find: Callable[[Path], Found], *, files: int) -> Callable[[Path], Found]:
    """`find`, which is asked again only for a file that is not one of those it was asked about
    last, so many of them. What it finds is shared by all who ask, and not to be changed."""
    known: OrderedDict[tuple[int, ...], Found] = OrderedDict()

    def remembered(path: Path) -> Found:
        which = _which(path)
        if which in known:
            return known[which]
        found = find(path)
        if time.time_ns() - max(which[-2:]) > _SETTLED_NS and _which(path) == which:
            known[which] = found
            if len(known) > files:
                known.popitem(last=False)
        return found

    return remembered


def _which(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


sha256_of = remembering(file_sha256, files=100_000)
"""The hash of a file's content."""
