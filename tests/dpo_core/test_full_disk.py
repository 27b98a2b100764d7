"""Disks that are full or broken, whatever the library that wrote made of it."""

import errno
import os
from pathlib import Path

import pytest

from dpo_core.errors import BadInput, DiskFailed, DiskFull, RatchetError
from dpo_core.full_disk import name_disk_errors


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), DiskFailed),
        (OSError("[Errno 5] Error writing bytes to file. Detail: Input/output error"), DiskFailed),
        (RuntimeError("I/O error: Input/output error (os error 5)"), DiskFailed),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskFull),
        (BadInput("Input/output error is what it says"), BadInput),
        (ValueError("something else"), ValueError),
    ],
)
def test_what_is_said_of_a_write(tmp_path: Path, raised: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, name_disk_errors(tmp_path):
        raise raised
    if kind in (DiskFailed, DiskFull):
        assert isinstance(caught.value, RatchetError)
        assert str(tmp_path) in caught.value.message and "same `ratchet" in caught.value.remedy
