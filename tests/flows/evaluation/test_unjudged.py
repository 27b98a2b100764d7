"""An answer that could not be judged counts against whoever gave it; the rest stay undecided."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from synthetic import Synthetic, asked, measured, says

from dpo_core.gate.config import GateConfig
from dpo_core.gate.decision import Best, decide
from dpo_core.records import Completion, Judgement, Pair, Prompt
from labeling.judges.both_orders import combine_orders
from labeling.judges.protocol import unjudged_side

OLD: dict[str, Any] = {"gate": {"decided_share": None}}
VERDICTS = {"function": "told_by_text:better", "gives": "verdict"}
N = 100


def held_out(count: int) -> list[Prompt]:
    """As many gate prompts as test prompts."""
    prompts = asked(count)
    return [replace(p, split="gate") for p in prompts[: count // 2]] + prompts[count // 2 :]


def played(
    root: Path, ours: Sequence[float | None], theirs: Sequence[float | None], **more: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The round's numbers, and its comparisons with the base on gate prompts."""
    campaign = Synthetic(root, held_out(2 * len(ours)), says([*theirs, *theirs]), **more)
    numbers = campaign.play(says([*ours, *ours]))
    rows = pq.read_table(campaign.made.path("outcomes.parquet")).to_pylist()
    return numbers, [row for row in rows if (row["opponent"], row["split"]) == ("base", "gate")]


def test_what_could_not_be_scored_is_lost_by_whoever_said_it(tmp_path: Path) -> None:
    """Of four comparisons: ours unscored, theirs unscored, neither scored, won."""
    ours, theirs = [None, 1, None, 2], [1, None, None, 1]
    numbers, rows = played(tmp_path / "new", ours, theirs)
    told = [(row["outcome"], row["unjudged"]) for row in rows]
    assert told == [(0, "policy"), (1, "opponent"), (0.5, None), (1, None)], "the third are alike"
    assert numbers["win_rate_gate"] == pytest.approx(2.5 / 4)
    assert numbers["decided"]["gate"] == {
        "comparisons": 4,
        "decided": 4,
        "unjudged": 1,
        "unjudged_opponent": 1,
        "why": {},
    }


def test_campaigns_from_before_leave_it_out(tmp_path: Path) -> None:
    numbers, rows = played(tmp_path, [None, 1, 2], [1, None, 1], **OLD)
    assert [row["outcome"] for row in rows] == [None, None, 1]
    assert numbers["win_rate_gate"] == 1
    assert numbers["decided"]["gate"]["decided"] == 1
    assert numbers["decided"]["gate"]["why"] == {"no score: the judge abstained": 2}


def test_a_policy_that_hides_from_the_judge_is_not_promoted(tmp_path: Path) -> None:
    """Five answers of 100 that win, and 95 that the judge cannot score."""
    ours = [2.0] * 5 + [None] * (N - 5)
    old, _ = played(tmp_path / "old", ours, [1] * N, **OLD)
    assert old["win_rate_gate"] == 1 and old["win_rate_gate_low"] > 0.5
    new, _ = played(tmp_path / "new", ours, [1] * N)
    assert new["win_rate_gate_high"] < 0.5
    found = decide(measured(new), GateConfig(), previous=0, best=Best(0, 0.5))
    assert not found.promoted
    assert found.checks[0].name == "win_rate_gate_low" and not found.checks[0].passed


def test_what_nobody_caused_stays_undecided_and_few_decided_promote_nothing(tmp_path: Path) -> None:
    """A judge of pairs that says nothing says nothing of whose fault it is."""
    ours = [2.0] * 5 + [None] * (N - 5)
    numbers, rows = played(tmp_path, ours, [1] * N, judge=VERDICTS)
    assert sum(row["outcome"] is None for row in rows) == N - 5
    found = decide(measured(numbers), GateConfig(), previous=0, best=Best(0, 0.5))
    failed = {check.name: check.value for check in found.checks if not check.passed}
    assert failed["decided_share"] == 0.05
    assert any("5 of 100 gate comparisons were decided" in said for said in found.reasons)
    assert any("(undecided because: the judge abstained: 95)" in said for said in found.reasons)


def answer(text: str) -> Completion:
    return Completion(text, Prompt("p"), text, "stop", len(text))


@pytest.mark.parametrize(
    ("a", "b", "judgement", "side"),
    [
        ("x", "y", Judgement(None), None),
        ("x", "y", Judgement(None, caused_by="b"), "b"),
        (" \n\u200b", "y", Judgement(None), "a"),
        ("x", "", Judgement(None), "b"),
        ("", " ", Judgement(None), None),
        ("", "y", Judgement(None, caused_by="b"), "b"),
        ("", "y", Judgement("b"), None),
    ],
)
def test_an_empty_answer_is_why_nothing_was_said(
    a: str, b: str, judgement: Judgement, side: str | None
) -> None:
    assert unjudged_side(Pair("i", answer(a), answer(b)), judgement) == side


def test_the_side_is_that_of_the_pair_in_either_order() -> None:
    caused = Judgement(None, "too long", caused_by="a")
    assert combine_orders(caused, Judgement("a")).caused_by == "a"
    assert combine_orders(Judgement("a"), caused).caused_by == "b"
    assert combine_orders(Judgement("a"), Judgement(None)).caused_by is None
