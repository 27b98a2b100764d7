"""Which failures of a step are tried again without Prefect; with it, see test_schedule."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpo_core.child_events import restore_error
from dpo_core.errors import (
    BadInput,
    ChildDied,
    ChildFailed,
    DiskFull,
    EndpointFailed,
    InvariantViolated,
    JudgeError,
    LabelServerFailed,
    WaitingForPeople,
)
from flows.config.schedule import RetriesConfig
from flows.prefect.tasks import KINDS, step


class Session:
    """As much of a session as `step` asks for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.config = SimpleNamespace(
            retries=RetriesConfig(sample=2, judge=1, train=3, labels=0, delay_s=0)
        )
        self.progress = SimpleNamespace(notice=self.said.append)


def attempts(kind: str, error: Exception, succeeds_at: int = 99) -> tuple[int, list[str]]:
    """How often a step of that name is called that raises `error` until it succeeds."""
    called = 0

    def function(_: Any) -> None:
        nonlocal called
        called += 1
        if called < succeeds_at:
            raise error

    function.__name__ = kind
    session: Any = Session()
    if succeeds_at == 99:
        with pytest.raises(type(error)):
            step(function)(session)
    else:
        step(function)(session)
    return called, session.said


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("sample", 3),
        ("answer_held_out", 3),
        ("answer_logps", 3),
        ("judge", 2),
        ("train", 4),
        ("ask_people", 1),
        ("pairs", 1),
    ],
)
def test_a_died_child_is_tried_again_as_often_as_its_kind_allows(kind: str, times: int) -> None:
    called, said = attempts(kind, ChildDied("the child process was ended\nits log"))
    assert called == times
    assert said == [f"retrying {kind} at once: the child process was ended"] * (times - 1)


def test_a_step_that_succeeds_is_not_tried_again() -> None:
    assert attempts("train", ChildDied("once"), succeeds_at=2)[0] == 2


@pytest.mark.parametrize(
    "error",
    [
        BadInput("bad"),
        InvariantViolated("a margin"),
        DiskFull("no room"),
        JudgeError("a rule raised"),
        WaitingForPeople("waits"),
        KeyError("a mistake of ours"),
        restore_error({"kind": "failed", "message": "on purpose", "remedy": "", "typed": True}),
        restore_error({"kind": "invariant_violated", "message": "", "remedy": "", "typed": True}),
    ],
    ids=str,
)
def test_what_would_only_fail_again_is_not_tried_again(error: Exception) -> None:
    assert attempts("train", error)[0] == 1


@pytest.mark.parametrize(
    "error",
    [
        EndpointFailed("HTTP 503"),
        LabelServerFailed("away"),
        ConnectionRefusedError("no server"),
        restore_error({"kind": "failed", "message": "CUDA", "remedy": "", "typed": False}),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert attempts("train", error)[0] == 4


def test_what_a_child_raises_on_purpose_is_told_apart() -> None:
    described = {"kind": "failed", "message": "m", "remedy": "", "typed": True}
    error = restore_error(described)
    assert isinstance(error, ChildFailed)
    assert error.deliberate


def test_every_step_has_its_kind_or_asks_nobody() -> None:
    """Whoever adds a step says which it is."""
    asks_nobody = {
        "held_out",
        "gate_pool",
        "gate",
        "audit_preferences",
        "draw_prompts",
        "join_draws",
        "combine_answers",
        "select_pairs",
        "calibrate",
        "aggregate_preferences",
        "data",
    }
    flows = Path(__file__).parents[3] / "flows"
    found = {
        name
        for path in flows.rglob("*.py")
        for name in re.findall(r"\bstep\((\w+)\)\(", path.read_text(encoding="utf-8"))
    }
    assert found == asks_nobody | KINDS.keys()
