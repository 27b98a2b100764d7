"""The sampling process's memory: the same for a thousand prompts as for a million.

The C library's heap only shrinks from its top, and among vLLM's buffers small objects that live
longer come to lie: its peak grew with every shard. So large buffers stay out of the heap, and
after each shard the free pages inside it go back too (benchmarks/sampling.py measures both).
"""

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 4 * 2**20

_libc = ctypes.CDLL(None)


def keep_buffers_out_of_heap() -> None:
    """Have every buffer from `_LARGE_BYTES` on come from the system, and go back when freed."""
    if hasattr(_libc, "mallopt"):  # glibc has it, other C libraries have none
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back_free_memory() -> None:
    """Return the heap's free pages to the system."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
