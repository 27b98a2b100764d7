"""Ctrl-C and SIGTERM at the command line."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(*, resumable: bool = True) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end children and locks in order, then say how to continue.

    SIGINT is handled even where it was ignored, as a shell does for what it starts with `&`.
    A command that is not resumable has no other end: there is nothing to say.
    """
    before = {number: signal.signal(number, _interrupt) for number in _INTERRUPTS}
    try:
        yield
    except KeyboardInterrupt:
        if resumable:
            again = shlex.join(["ratchet", *sys.argv[1:]])
            note = f"\nInterrupted; finished steps are kept. Continue with: {again}"
            print(note, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads of libraries would wait, as Prefect's do for a server that is gone.
        os._exit(EXIT_INTERRUPTED if resumable else 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
