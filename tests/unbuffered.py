"""Makes a forked command (dpo_core.preloaded) write at once where PYTHONUNBUFFERED asks for it."""

import os
import sys

READ_AGAIN = frozenset({"PYTHONUNBUFFERED"})


def read_again(module: str) -> None:
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
