"""CPU time of a process and of all that it started, as Linux counts it."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted from the field after the name: state, parent, …
_PARENT, _TIMES = 1, slice(11, 15)  # utime, stime, and both of children that were waited for


def cpu_seconds(pid: int) -> float:
    """CPU seconds of the process, of its descendants, and of those that it has waited for.

    A process that has ended counts until it is waited for. 0.0 for one that is not there.
    """
    spent, children = dict[int, int](), defaultdict[int, list[int]](list)
    for found, parent, ticks in _processes():
        spent[found] = ticks
        children[parent].append(found)
    return sum(spent.get(one, 0) for one in _tree(pid, children)) / _TICKS_PER_SECOND


def _tree(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    left = [pid]
    while left:
        one = left.pop()
        yield one
        left += children.get(one, [])


def _processes() -> Iterator[tuple[int, int, int]]:
    """(id, parent, clock ticks) of every process that may be looked at."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                # The name may hold anything, parentheses and spaces among it.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield int(entry.name), int(fields[_PARENT]), sum(map(int, fields[_TIMES]))
