"""What takes long to make is made once for all workers of a run of tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, as `make(folder)` filled it: by whichever worker comes first.

    Nobody changes what is in it: a test that changes anything works on a copy. Where making it
    fails, each worker tries, so that each test that needs it says why.
    """
    base = run_folder(factory)
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """Where a run of tests keeps what all its workers share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
