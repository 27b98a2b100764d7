"""How steps, rounds and campaigns become Prefect tasks, subflows and flows.

Inside a flow run a step is a task, outside of one it is a plain function, so that a campaign also
runs without a Prefect server. The ledger, not Prefect's cache, decides what is skipped; Prefect
shows a skipped step as Cached. What waits for people is Completed under the name Waiting, with the
sentence that says for what: nothing failed, and no process is there that could be running.

A step whose process died, or whose server did not answer, is tried again as often as the config
says for its kind. In a flow Prefect does that, and shows it; without one this module does, and
Prefect, whose import takes a second, is not imported.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.ledger import Entry
from dpo_core.errors import (
    ChildDied,
    ChildFailed,
    EndpointFailed,
    LabelServerFailed,
    RatchetError,
    WaitingForPeople,
)
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


if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

P = ParamSpec("P")

WAITING = "Waiting"


@dataclass
class _Outcome(Generic[R]):
    """What a body came to, past Prefect: it would keep results, and log a wait as an exception."""

    function: Callable[[], R]
    found: tuple[R] | None = None
    raised: Exception | None = None

    def state(self, describe: "Callable[[R], State[None]]") -> "State[None]":
        """Run the function; the state that Prefect shows for it. It may be called again."""
        from prefect.states import Completed

        self.raised = None
        try:
            self.found = (self.function(),)
        except WaitingForPeople as waiting:
            self.raised = waiting
            return Completed(name=WAITING, message=waiting.message)
        except Exception as error:
            self.raised = error
            raise
        return describe(self.found[0])

    def get(self, state: "State[Any]") -> R:
        """What the function returned or raised; `state` tells why Prefect did not run it."""
        if self.raised is not None:
            raise self.raised
        if self.found is None:
            raise state.result(raise_on_failure=False)
        return self.found[0]


def step(
    function: Callable[Concatenate[Session, P], R],
) -> Callable[Concatenate[Session, P], R]:
    """Run `function` as a Prefect task when a flow is running, and plainly when none is."""

    @wraps(function)
    def call(do: Session, /, *args: P.args, **kwargs: P.kwargs) -> R:
        name = function.__name__
        again = Retries.of(name, do)
        if not _in_a_flow():
            return again.plainly(lambda: function(do, *args, **kwargs))
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.context import TagsContext

        from flows.prefect.runs import record_state

        outcome = _Outcome(lambda: function(do, *args, **kwargs))

        def body() -> "State[None]":
            return outcome.state(_state)

        def wanted(*_: Any) -> bool:
            return again.wanted(outcome.raised)

        options: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
        options |= {"retries": again.times, "retry_delay_seconds": again.delay_s}
        # Tagged tasks ask the server for a place under their tags' limits: 2 s after a long step.
        with TagsContext(current_tags=set()):
            made = task(name=name, task_run_name=name, retry_condition_fn=wanted, **options)(body)
            state = made(return_state=True)
        record_state(state)
        return outcome.get(state)

    return call


def _in_a_flow() -> bool:
    if "prefect.context" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def run_flow(function: Callable[[], R], *, name: str, run_name: str) -> R:
    """Run `function` as a Prefect flow, or as a subflow of the flow that runs.

    In a run that starts again Prefect takes its subflows up again, and runs them, because what
    they return is no part of their state: a round that was Waiting is the same run when it goes on.
    """
    from prefect import flow
    from prefect.states import Completed

    outcome = _Outcome(function)

    def body() -> "State[None]":
        return outcome.state(lambda _: Completed())

    return outcome.get(flow(name=name, flow_run_name=run_name)(body)(return_state=True))


def _state(result: Any) -> "State[None]":
    """Completed, or Cached when everything the step made came from disk, with its counts."""
    from prefect.states import Completed

    entry, cached = _find_artifact(result)
    message = _counts(entry) if entry is not None else None
    return Completed(name="Cached" if cached else None, message=message)


def _find_artifact(result: Any) -> tuple[Entry | None, bool]:
    """(ledger entry, cached?) of what a step returned: an artifact, or what carries one."""
    carried = ("made_by", "answers", "made")
    candidates = (result, *(getattr(result, name, None) for name in carried))
    artifact = next((c for c in candidates if isinstance(c, Artifact)), None)
    return (artifact.entry, artifact.cached) if artifact is not None else (None, False)


def _counts(entry: Entry) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in entry.dropped.items())
    return f"{entry.came_in} in, {entry.kept} kept" + (f", dropped: {dropped}" if dropped else "")
