"""How glibc's allocator treats freed memory. Loads no model library.

With another C library these functions do nothing.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_NEVER_BYTES = 2**30

_libc = ctypes.CDLL(None)


def keep_freed_memory() -> None:
    """Keep freed memory in the process for its next buffers.

    Memory from the system would come page by page, filled with zeros.
    """
    _set(_M_MMAP_THRESHOLD, _NEVER_BYTES)
    _set(_M_TRIM_THRESHOLD, _NEVER_BYTES)


def return_large_buffers(least_bytes: int) -> None:
    """Take every buffer of at least this size from the system, and return it when freed."""
    _set(_M_MMAP_THRESHOLD, least_bytes)


def return_free_pages() -> None:
    """Return free pages inside the heap to the system."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def _set(parameter: int, value: int) -> None:
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(parameter, value)
