"""Keep the sampling process's memory constant, for a thousand prompts as for a million.

The C heap shrinks only from its top, and small long-lived objects land between vLLM's buffers, so
its peak grew with every shard. Large buffers therefore stay out of the heap, and the heap's free
pages are returned every second (benchmarks/sampling.py measures the cost).
"""

import time

from dpo_core import allocator

_LARGE_BYTES = 4 * 2**20
_TRIM_EVERY_S = 1.0


def keep_buffers_out_of_heap() -> None:
    """Allocate buffers of at least `_LARGE_BYTES` from the system, which gets them back on free."""
    allocator.return_large_buffers(_LARGE_BYTES)


class HeapTrimmer:
    """Returns the heap's free pages to the system at most once a second; a call takes 2 ms."""

    def __init__(self) -> None:
        self._next = 0.0

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            allocator.return_free_pages()
            self._next = now + _TRIM_EVERY_S
