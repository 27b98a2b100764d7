"""The step that a running campaign is at. Kept in `progress.json`, at most once a second."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

_EVERY_S = 1.0


@dataclass(frozen=True)
class StepNow:
    """`done` of `total` units of a step; 0 of 0 before it has said how many there are.

    round: 0 is the base. since: seconds since the epoch when it began.
    """

    round: int
    step: str
    since: float
    done: int = 0
    total: int = 0
    unit: str = ""

    @classmethod
    def read(cls, path: Path) -> "StepNow | None":
        """None where nothing runs, or has not begun a step."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def sentence(self) -> str:
        """As in `round 2: training, 12 of 40 steps`."""
        where = f"round {self.round}: {self.step}" if self.round else f"base: {self.step}"
        return f"{where}, {self.done:,} of {self.total:,} {self.unit}" if self.total else where


@dataclass
class StepRecord:
    """Writes where a run is to `path`; a disk that refuses it stops nothing."""

    path: Path | None
    _now: StepNow | None = None
    _written: float = field(default=0.0, repr=False)

    def begin(self, number: int, step: str) -> None:
        self._now = StepNow(number, step, time.time())
        self._write()

    def advance(self, done: int, total: int, unit: str) -> None:
        if self._now is not None and time.monotonic() - self._written >= _EVERY_S:
            self._now = StepNow(self._now.round, self._now.step, self._now.since, done, total, unit)
            self._write()

    def _write(self) -> None:
        if self.path is None or self._now is None:
            return
        self._written = time.monotonic()
        beside = self.path.with_name(f".{self.path.name}.tmp")
        try:  # not flushed to disk: after a power loss nothing runs
            beside.write_text(json.dumps(asdict(self._now)), encoding="utf-8")
            os.replace(beside, self.path)
        except OSError:
            self.path = None

    def end(self) -> None:
        """Nothing runs, or nothing has begun yet."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
