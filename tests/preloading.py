"""A process that children are forked from, for tests of that."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.until import until

END_TIMEOUT_S = 20.0


@contextmanager
def preloaded(folder: Path, *modules: str) -> Iterator[Path]:
    """Where a process that has imported `modules` waits to be forked."""
    path = folder / "socket"
    command = [sys.executable, "-m", "dpo_core.preloaded", str(path), *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        until(path.exists)
        process_ends = process.stdin
        assert process_ends is not None
        yield path
        process_ends.close()
        assert process.wait(END_TIMEOUT_S) == 0
