"""Steps, rounds and campaigns as Prefect tasks, subflows and flows.

Inside a flow run a step is a task; outside, a plain function, so that a campaign also runs without
a Prefect server. The ledger, not Prefect's cache, decides what is skipped; Prefect shows a skipped
step as Cached. A wait for people is Completed under the name Waiting, with the sentence that says
for what: nothing failed, and no process is running.

The config sets how often a step is retried after its process died or its server did not answer.
Prefect retries inside a flow; outside, this module does, without importing Prefect (one second).
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
"""Errors worth a retry: a process died or failed, a server did not answer. Bad input, a failed
check, a judge out of contract and a full disk would fail again."""

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
"""step that depends on a process, an endpoint or a server → its key in `retries`."""


@dataclass(frozen=True)
class Retries:
    """Number of retries of a step, seconds before each, and where they are reported."""

    step: str
    times: int
    delay_s: float
    say: Callable[[str], None]

    @classmethod
    def for_step(cls, step: str, do: Session) -> "Retries":
        """The retries of a step function; none if it is not in KINDS."""
        config, kind = do.config.retries, KINDS.get(step)
        times = getattr(config, kind) if kind is not None else 0
        return cls(step, times, config.delay_s, do.progress.notice)

    def allow(self, error: BaseException | None) -> bool:
        """Whether to retry after `error`; reports the retry."""
        if not isinstance(error, _MAY_PASS) or getattr(error, "deliberate", False):
            return False
        message = error.message if isinstance(error, RatchetError) else str(error)
        first = next(iter(message.splitlines()), type(error).__name__)
        after = f"in {self.delay_s:g} s" if self.delay_s else "at once"
        self.say(f"retrying {self.step} {after}: {first}")
        return True

    def call(self, function: Callable[[], R]) -> R:
        """Call `function` without Prefect, with as many retries."""
        for _ in range(self.times):
            try:
                return function()
            except Exception as error:
                if not self.allow(error):
                    raise
                time.sleep(self.delay_s)
        return function()


if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

P = ParamSpec("P")

WAITING = "Waiting"


@dataclass
class _Outcome(Generic[R]):
    """A function's result or error, kept from Prefect, which would store the result and log a wait
    for people as an exception."""

    function: Callable[[], R]
    result: tuple[R] | None = None
    raised: Exception | None = None

    def state(self, describe: "Callable[[R], State[None]]") -> "State[None]":
        """Run the function, possibly again, and return the state that Prefect shows for it."""
        from prefect.states import Completed

        self.raised = None
        try:
            self.result = (self.function(),)
        except WaitingForPeople as waiting:
            self.raised = waiting
            return Completed(name=WAITING, message=waiting.message)
        except Exception as error:
            self.raised = error
            raise
        return describe(self.result[0])

    def get(self, state: "State[Any]") -> R:
        """The function's result, or raise its error; if Prefect did not run it, that of `state`."""
        if self.raised is not None:
            raise self.raised
        if self.result is None:
            raise state.result(raise_on_failure=False)
        return self.result[0]


def step(function: Callable[Concatenate[Session, P], R]) -> Callable[Concatenate[Session, P], R]:
    """Run `function` as a Prefect task inside a flow, and as a plain function outside."""

    @wraps(function)
    def call(do: Session, /, *args: P.args, **kwargs: P.kwargs) -> R:
        name = function.__name__
        retries = Retries.for_step(name, do)
        if not _in_a_flow():
            return retries.call(lambda: function(do, *args, **kwargs))
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.context import TagsContext

        from flows.prefect.runs import record_state

        outcome = _Outcome(lambda: function(do, *args, **kwargs))

        def body() -> "State[None]":
            return outcome.state(_state)

        def allow(*_: Any) -> bool:
            return retries.allow(outcome.raised)

        # Tagged tasks ask the server about concurrency limits: 2 s after a long step.
        with TagsContext(current_tags=set()):
            run = task(
                name=name,
                task_run_name=name,
                cache_policy=NO_CACHE,
                persist_result=False,
                retries=retries.times,
                retry_delay_seconds=retries.delay_s,
                retry_condition_fn=allow,
            )
            state = run(body)(return_state=True)
        record_state(state)
        return outcome.get(state)

    return call


def _in_a_flow() -> bool:
    if "prefect.context" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def run_flow(function: Callable[[], R], *, name: str, run_name: str) -> R:
    """Run `function` as a Prefect flow, or as a subflow inside a flow.

    A restarted run runs its subflows again under the same run ids, because their results are not
    stored: a round that was Waiting resumes as the same run.
    """
    from prefect import flow
    from prefect.states import Completed

    outcome = _Outcome(function)

    def body() -> "State[None]":
        return outcome.state(lambda _: Completed())

    return outcome.get(flow(name=name, flow_run_name=run_name)(body)(return_state=True))


def _state(result: Any) -> "State[None]":
    """Completed, or Cached if the step's artifact came from disk, with its counts."""
    from prefect.states import Completed

    entry, cached = _find_artifact(result)
    message = _counts(entry) if entry is not None else None
    return Completed(name="Cached" if cached else None, message=message)


def _find_artifact(result: Any) -> tuple[Entry | None, bool]:
    """(ledger entry, cached?) of a step's result: an artifact, or an object that holds one."""
    carried = ("made_by", "answers", "made")
    candidates = (result, *(getattr(result, name, None) for name in carried))
    artifact = next((c for c in candidates if isinstance(c, Artifact)), None)
    return (artifact.entry, artifact.cached) if artifact is not None else (None, False)


def _counts(entry: Entry) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in entry.dropped.items())
    return f"{entry.came_in} in, {entry.kept} kept" + (f", dropped: {dropped}" if dropped else "")
