"""The sampling process's memory: the same for a thousand prompts as for a million.

The C library's heap only shrinks from its top, and among vLLM's buffers small objects that live
longer come to lie: its peak grew with every shard. So large buffers stay out of the heap, and
every second the free pages inside it go back too (benchmarks/sampling.py measures what it takes).
"""

import time

from dpo_core import allocator

_LARGE_BYTES = 4 * 2**20
_TRIM_EVERY_S = 1.0


def keep_buffers_out_of_heap() -> None:
    """Have every buffer from `_LARGE_BYTES` on come from the system, and go back when freed."""
    allocator.return_large_buffers(_LARGE_BYTES)


class HeapTrimmer:
    """Returns the heap's free pages to the system at most once a second; each time takes 2 ms."""

    def __init__(self) -> None:
        self._next = 0.0

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            allocator.return_free_pages()
            self._next = now + _TRIM_EVERY_S
