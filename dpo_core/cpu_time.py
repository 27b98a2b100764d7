"""CPU time of a process and its descendants, from Linux's /proc."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted from the field after the name: state, parent, …
_PARENT, _TIMES = 1, slice(11, 15)  # utime, stime, and both of children that were waited for


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, its descendants, and the children that they have waited for.

    A process that has ended counts until it is waited for. 0.0 where there is no such process.
    """
    spent, children = dict[int, int](), defaultdict[int, list[int]](list)
    for process, parent, ticks in _processes():
        spent[process] = ticks
        children[parent].append(process)
    return sum(spent.get(process, 0) for process in _tree(pid, children)) / _TICKS_PER_SECOND


def _tree(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    pending = [pid]
    while pending:
        process = pending.pop()
        yield process
        pending += children.get(process, [])


def _processes() -> Iterator[tuple[int, int, int]]:
    """(id, parent, clock ticks) of every process that is readable."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                # The name may contain anything, including parentheses and spaces.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield int(entry.name), int(fields[_PARENT]), sum(map(int, fields[_TIMES]))
