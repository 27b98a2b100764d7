"""Disk-full and disk-failure errors, recognised whatever error a library raises."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.errors import DiskFailed, DiskFull, RatchetError

OUT_OF_SPACE_ERRNOS = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT

FULL_BYTES = 64 * 1024
"""With less free space than this, an unclear error is attributed to the full disk."""


def is_out_of_space(error: BaseException) -> bool:
    """Whether `error` means that the disk is full, as Python, Rust or C++ libraries word it."""
    text = str(error)
    return any(
        sign in text
        for sign in ("No space left", "os error 28", "File too large", "quota exceeded")
    )


def _io_failed(error: BaseException) -> bool:
    """Whether the disk itself failed."""
    text = str(error)
    return any(sign in text for sign in ("Input/output error", "os error 5)", "disk I/O error"))


def disk_full_error(root: Path, detail: str) -> DiskFull:
    """The error for a full disk below `root`; detail: what could not be written."""
    free = free_bytes(root) / 2**20
    return DiskFull(
        f"no space left on the disk of {root} ({free:.0f} MiB free): {detail}",
        "Free some space and run the same `ratchet run` again; finished steps are kept.",
    )


@contextmanager
def name_disk_errors(root: Path) -> Iterator[None]:
    """Raise DiskFull or DiskFailed in place of a library's error about a write below `root`."""
    try:
        yield
    except RatchetError:
        raise
    except Exception as error:
        if is_out_of_space(error) or free_bytes(root) < FULL_BYTES:
            raise disk_full_error(
                root, f"{type(error).__name__}: {error}".splitlines()[0]
            ) from error
        if _io_failed(error):
            raise DiskFailed(
                f"the disk below {root} failed: {error}".splitlines()[0],
                "Check the disk (see dmesg). Finished steps are kept: run the same `ratchet run` "
                "again to resume.",
            ) from error
        raise


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
