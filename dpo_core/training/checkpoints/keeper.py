"""When a round's training is saved: every so often, and when a stop is asked for."""

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
"""`auto` saves after so many seconds of training at the earliest …"""

_AUTO_COST = 20
"""… and not before training took this many times the seconds that saving last took."""

_GO_ON, _SAVE, _STOP = range(3)


class Keeper:
    """A context manager: within, SIGTERM asks for a stop in place of ending the process.

    checkpoints: folder; None keeps nothing and leaves SIGTERM as it is. save: save(steps done).
    saved: steps that are saved already.
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
        """Save if it is time; to be called when the weights after `done` steps proved finite.

        Called together: where one process of the team has to save or stop, all do.
        Raises Interrupted when a stop was asked for.
        """
        if self._checkpoints is None:
            return
        wish = self._team.largest(_STOP if self._stop else _SAVE if self._due(done) else _GO_ON)
        if done > self._saved and wish >= _SAVE:
            started = time.monotonic()
            self._save(done)
            self._saved, self._saved_at = done, time.monotonic()
            self._saving_took_s = self._saved_at - started
        if wish == _STOP:
            raise Interrupted(
                f"training was asked to stop (SIGTERM) after {done} of {steps} steps",
                "What is done is saved: the same `ratchet run` goes on there.",
            )

    def _due(self, done: int) -> bool:
        if self._every != "auto":
            return done % self._every == 0
        trained_s = time.monotonic() - self._saved_at
        return trained_s >= max(_AUTO_S, _AUTO_COST * self._saving_took_s)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def __enter__(self) -> "Keeper":
        if self._checkpoints is not None and threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGTERM, self._handler_before)
