"""No room left for a campaign: said as such, whatever the system or a library makes of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.children import out_of_space
from dpo_core.errors import DiskFull, RatchetError

OUT_OF_SPACE_ERRNOS = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT

_FULL_BYTES = 64 * 1024
"""With less room than this the disk is to blame for an error that does not say so."""


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
        if out_of_space(error) or free_bytes(root) < _FULL_BYTES:
            raise disk_full(root, f"{type(error).__name__}: {error}".splitlines()[0]) from error
        raise


def free_bytes(root: Path) -> int:
    """Bytes free where `root` is, or where it would be made."""
    return shutil.disk_usage(next(p for p in (root, *root.absolute().parents) if p.exists())).free
