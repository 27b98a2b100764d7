"""How steps, rounds and campaigns become Prefect tasks, subflows and flows.

Inside a flow run a step is a task, outside of one it is a plain function, so that a campaign also
runs without a Prefect server. The ledger, not Prefect's cache, decides what is skipped; Prefect
shows a skipped step as Cached.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TagsContext
from prefect.states import Completed

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.store import Artifact

P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` as a Prefect task when a flow is running, and plainly when none is."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if FlowRunContext.get() is None:
            return function(*args, **kwargs)
        found: list[R] = []

        def body() -> State[None]:
            found.append(function(*args, **kwargs))
            return _state(found[0])

        name = function.__name__
        options: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
        # Tagged tasks ask the server for a place under their tags' limits: 2 s after a long step.
        with TagsContext(current_tags=set()):
            task(name=name, task_run_name=name, **options)(body)()
        return found[0]

    return call


def _state(result: Any) -> State[None]:
    """Completed, or Cached when everything the step made came from disk, with its counts."""
    entry, cached = _made(result)
    message = _counts(entry) if entry is not None else None
    return Completed(name="Cached" if cached else None, message=message)


def _made(result: Any) -> tuple[Entry | None, bool]:
    """(ledger entry, cached?) of what a step returned: an artifact, or what carries one."""
    candidates = (result, getattr(result, "made_by", None), getattr(result, "answers", None))
    artifact = next((c for c in candidates if isinstance(c, Artifact)), None)
    return (artifact.entry, artifact.cached) if artifact is not None else (None, False)


def _counts(entry: Entry) -> str:
    dropped = ", ".join(f"{count} {reason}" for reason, count in entry.dropped.items())
    return f"{entry.came_in} in, {entry.kept} kept" + (f", dropped: {dropped}" if dropped else "")
