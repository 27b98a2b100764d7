"""No room left on the disk: said as such, whatever the system or a library makes of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.errors import DiskFull, RatchetError

OUT_OF_SPACE_ERRNOS = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT

FULL_BYTES = 64 * 1024
"""With less room than this the disk is to blame for an error that does not say so."""


def out_of_space(error: BaseException) -> bool:
    """Whether `error` means that a write found no room, also as Rust or C++ libraries say it."""
    text = str(error)
    return any(
        sign in text
        for sign in ("No space left", "os error 28", "File too large", "quota exceeded")
    )


def disk_full(root: Path, detail: str) -> DiskFull:
    """The error that says so of the campaign in `root`; detail: what could not be written."""
    free = free_bytes(root) / 2**20
    return DiskFull(
        f"no room left to write below {root} ({free:.0f} MiB free): {detail}",
        "Free some space and type the same `ratchet run` again; finished steps are kept.",
    )


@contextmanager
def full_disk_named(root: Path) -> Iterator[None]:
    """Raise DiskFull in place of whatever a library makes of a write below `root` without room."""
    try:
        yield
    except RatchetError:
        raise
    except Exception as error:
        if out_of_space(error) or free_bytes(root) < FULL_BYTES:
            raise disk_full(root, f"{type(error).__name__}: {error}".splitlines()[0]) from error
        raise


def free_bytes(folder: Path) -> int:
    """Bytes free where `folder` is, or where it would be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
