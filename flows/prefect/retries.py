"""Which failures of a step are tried again, and how often: by what the step does."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dpo_core.errors import ChildDied, ChildFailed, EndpointFailed, LabelServerFailed, RatchetError
from flows.session import Session

R = TypeVar("R")

_MAY_PASS = (
    ChildDied,
    ChildFailed,
    EndpointFailed,
    LabelServerFailed,
    ConnectionError,
    TimeoutError,
)
"""A process that died or stumbled, a server that did not answer. Bad input, a failed check, a judge
out of contract and a full disk would only fail again."""

KINDS = {
    "sample": "sample",
    "sample_other": "sample",
    "answer_held_out": "sample",
    "answer_logps": "sample",
    "answer_relevance": "sample",
    "imported_preferences": "sample",
    "score": "judge",
    "judge": "judge",
    "evaluate": "judge",
    "certify": "sample",
    "base_policy": "train",
    "reference": "train",
    "train": "train",
    "ask_people": "labels",
}
"""Every step that asks a process, an endpoint or a server, and what such a failure counts as."""


@dataclass(frozen=True)
class Retries:
    """How often a step is tried again, after how many seconds, and who hears of it."""

    step: str
    times: int
    delay_s: float
    say: Callable[[str], None]

    @classmethod
    def of(cls, step: str, do: Session) -> "Retries":
        """Those of the step function with that name; what makes no process is not tried again."""
        config, kind = do.config.retries, KINDS.get(step)
        times = getattr(config, kind) if kind is not None else 0
        return cls(step, times, config.delay_s, do.progress.notice)

    def wanted(self, error: BaseException | None) -> bool:
        """Whether it is worth trying again after `error`; if so, it is said."""
        if not isinstance(error, _MAY_PASS) or getattr(error, "deliberate", False):
            return False
        shown = error.message if isinstance(error, RatchetError) else str(error)
        first = next(iter(shown.splitlines()), type(error).__name__)
        after = f"in {self.delay_s:g} s" if self.delay_s else "at once"
        self.say(f"{self.step} is tried again {after}: {first}")
        return True

    def plainly(self, function: Callable[[], R]) -> R:
        """Call `function` without Prefect, and again as often as it does."""
        for _ in range(self.times):
            try:
                return function()
            except Exception as error:
                if not self.wanted(error):
                    raise
                time.sleep(self.delay_s)
        return function()
