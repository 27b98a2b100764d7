"""Regression suites must not fall."""

from pathlib import Path

import pytest
from synthetic import Synthetic, asked, measured, says

from dpo_core.gate.config import GateConfig
from dpo_core.gate.decision import Best, decide

SUITE = {"sums": {"prompts": "/nowhere.jsonl", "judge": {"function": "told_by_text:worth"}}}
N = 20


def played(root: Path, falls: int, may_fall: float = 0.0) -> dict[str, object]:
    """`sums` of a policy that got the first `falls` of N prompts right before, and now not."""
    suites = {"sums": {**SUITE["sums"], "may_fall": may_fall}}
    campaign = Synthetic(root, asked(2), says([1, 1]), evaluation={"suites": suites})
    campaign.add_suites({"sums": says([1] * N)})
    return campaign.play(says([1, 1]), {"sums": says([0] * falls + [1] * (N - falls))})


@pytest.mark.parametrize(
    ("falls", "may_fall", "failed"),
    [(0, 0.0, False), (1, 0.0, False), (10, 0.0, True), (10, 0.6, False), (N, 0.9, True)],
)
def test_a_suite_fails_that_clearly_fell(
    tmp_path: Path, falls: int, may_fall: float, failed: bool
) -> None:
    numbers = played(tmp_path, falls, may_fall)
    found = numbers["suites"]["sums"]
    assert (found["prompts"], found["before"], found["base"]) == (N, 1, 1)
    assert found["score"] == pytest.approx(1 - falls / N)
    assert found["change"] == pytest.approx(-falls / N)
    assert found["change_low"] <= found["change"] <= found["change_high"]
    assert found["failed"] is failed
    said = numbers["warnings"].get("suite sums", "")
    assert said.startswith("Regression suite sums fell from 1 to") is failed


def test_how_many_answers_were_scored_is_counted(tmp_path: Path) -> None:
    """Three of the new ones, and one of these not of the policy before."""
    campaign = Synthetic(tmp_path, asked(2), says([1, 1]), evaluation={"suites": SUITE})
    campaign.add_suites({"sums": says([None] + [1] * (N - 1))})
    numbers = campaign.play(says([1, 1]), {"sums": says([1, 1, 1] + [None] * (N - 3))})
    found = numbers["suites"]["sums"]
    assert (found["answers"], found["prompts"], found["compared"]) == (N, 3, 2)
    assert not found["failed"], "those that were scored did not fall"
    decision = decide(measured(numbers), GateConfig(), previous=0, best=Best(0, 0.5))
    [check] = [check for check in decision.checks if check.name == "suite sums decided_share"]
    assert (check.value, check.bound, check.passed) == (0.1, 0.9, False)


def test_a_rule_that_can_score_nothing_any_more_fails_its_suite(tmp_path: Path) -> None:
    campaign = Synthetic(tmp_path, asked(2), says([1, 1]), evaluation={"suites": SUITE})
    campaign.add_suites({"sums": says([1, 0])})
    numbers = campaign.play(says([1, 1]), {"sums": says([None, None])})
    assert numbers["suites"]["sums"]["failed"] and numbers["suites"]["sums"]["score"] is None
    assert "could score no answer" in numbers["warnings"]["suite sums"]
