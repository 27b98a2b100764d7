"""No room left on the disk, or a disk that fails: said as such, whatever a library makes of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.errors import DiskFailed, DiskFull, RatchetError

OUT_OF_SPACE_ERRNOS = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT

FULL_BYTES = 64 * 1024
"""With less room than this the disk is to blame for an error that does not say so."""


def is_out_of_space(error: BaseException) -> bool:
    """Whether `error` means that a write found no room, also as Rust or C++ libraries say it."""
    text = str(error)
    return any(
        sign in text
        for sign in ("No space left", "os error 28", "File too large", "quota exceeded")
    )


def _io_failed(error: BaseException) -> bool:
    """Whether the disk itself did not do what it was asked for."""
    text = str(error)
    return any(sign in text for sign in ("Input/output error", "os error 5)", "disk I/O error"))


def disk_full_error(root: Path, detail: str) -> DiskFull:
    """The error that says so of the campaign in `root`; detail: what could not be written."""
    free = free_bytes(root) / 2**20
    return DiskFull(
        f"no room left to write below {root} ({free:.0f} MiB free): {detail}",
        "Free some space and type the same `ratchet run` again; finished steps are kept.",
    )


@contextmanager
def name_disk_errors(root: Path) -> Iterator[None]:
    """Raise DiskFull or DiskFailed in place of whatever a library makes of a write below `root`
    that found no room, or that the disk did not carry out."""
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
                "Look at the disk (dmesg says more). Finished steps are kept: the same `ratchet "
                "run` goes on from them.",
            ) from error
        raise


def free_bytes(folder: Path) -> int:
    """Bytes free where `folder` is, or where it would be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
