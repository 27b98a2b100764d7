"""When a round writes checkpoints: at intervals, and when it is asked to stop."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from dpo_core.errors import Interrupted
from dpo_core.training.processes.team import Team

_AUTO_S = 60.0
"""Fewest seconds of training between checkpoints with `auto`."""

_AUTO_COST = 20
"""Fewest seconds of training between checkpoints with `auto`, in units of the last saving time."""

_CONTINUE, _SAVE, _STOP = range(3)


class Keeper:
    """Saves checkpoints. Within it as a context manager, SIGTERM requests a stop.

    checkpoints: folder; None saves nothing and leaves SIGTERM as it is. save: called as save(steps
    done). saved: steps that are saved already.
    """

    def __init__(
        self,
        checkpoints: Path | None,
        every: int | Literal["auto"],
        save: Callable[[int], None],
        team: Team,
        saved: int = 0,
    ) -> None:
        self._checkpoints = checkpoints
        self._every = every
        self._save = save
        self._team = team
        self._saved = saved
        self._stop = False
        self._handler_before: Any = None
        self._saved_at = time.monotonic()
        self._saving_took_s = 0.0

    def between(self, done: int, steps: int) -> None:
        """Save if it is time; to be called once the weights after `done` steps proved finite.

        A collective call: when one process of the team has to save or stop, all do. Raises
        Interrupted when a stop was requested.
        """
        if self._checkpoints is None:
            return
        action = self._team.largest(
            _STOP if self._stop else _SAVE if self._due(done) else _CONTINUE
        )
        if done > self._saved and action >= _SAVE:
            started = time.monotonic()
            self._save(done)
            self._saved, self._saved_at = done, time.monotonic()
            self._saving_took_s = self._saved_at - started
        if action == _STOP:
            raise Interrupted(
                f"training was asked to stop (SIGTERM) after {done} of {steps} steps",
                "The steps done are saved: run the same `ratchet run` again to resume.",
            )

    def _due(self, done: int) -> bool:
        if self._every != "auto":
            return done % self._every == 0
        trained_s = time.monotonic() - self._saved_at
        return trained_s >= max(_AUTO_S, _AUTO_COST * self._saving_took_s)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def __enter__(self) -> "Keeper":
        if self._checkpoints is not None and threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(signal.SIGTERM, self._request_stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGTERM, self._handler_before)
