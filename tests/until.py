"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object],
    describe: Callable[[], str] = lambda: "it never came to that",
    *,
    within_s: float = 300.0,
    every_s: float = 0.05,
) -> float:
    """Return once `condition` holds; the seconds that took.

    Fails with what `describe` says when it does not within `within_s`.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, describe()
        time.sleep(every_s)
    return time.monotonic() - began
