"""The sampling process's memory: the same for a thousand prompts as for a million.

The C library's heap only shrinks from its top, and among vLLM's buffers small objects that live
longer come to lie: its peak grew with every shard. So large buffers stay out of the heap, and
every second the free pages inside it go back too (benchmarks/sampling.py measures what it takes).
"""

import ctypes
import time

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 4 * 2**20
_TRIM_EVERY_S = 1.0

_libc = ctypes.CDLL(None)


def keep_buffers_out_of_heap() -> None:
    """Have every buffer from `_LARGE_BYTES` on come from the system, and go back when freed."""
    if hasattr(_libc, "mallopt"):  # glibc has it, other C libraries have none
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


class HeapTrimmer:
    """Returns the heap's free pages to the system at most once a second; each time takes 2 ms."""

    def __init__(self) -> None:
        self._next = 0.0

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next and hasattr(_libc, "malloc_trim"):
            _libc.malloc_trim(0)
            self._next = now + _TRIM_EVERY_S
