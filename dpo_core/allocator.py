"""What the C library's allocator does with memory that was freed. It loads no model library.

Only glibc is asked; where another C library serves, all of this does nothing.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_NEVER_BYTES = 2**30

_libc = ctypes.CDLL(None)


def keep_freed_memory() -> None:
    """Have what is freed stay with the process, for its next buffers.

    From the system they would come page by page, filled with zeros.
    """
    _set(_M_MMAP_THRESHOLD, _NEVER_BYTES)
    _set(_M_TRIM_THRESHOLD, _NEVER_BYTES)


def return_large_buffers(least_bytes: int) -> None:
    """Have every buffer of at least so many bytes come from the system, and go back when freed."""
    _set(_M_MMAP_THRESHOLD, least_bytes)


def return_free_pages() -> None:
    """Give the system back the pages that lie free inside the heap."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def _set(parameter: int, value: int) -> None:
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(parameter, value)
