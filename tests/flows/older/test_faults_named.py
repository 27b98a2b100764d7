"""Of rounds that an older version finished it is said what was wrong in them, and of no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.records import OUTCOMES, PROMPTS, SCORES
from dpo_core.tables import write_rows
from flows.older_rounds import Finished, faults

RULE = {"kind": "rule", "function": "my:rule", "gives": "score"}
COMMITTEE = {"kind": "committee", "members": [RULE, {**RULE, "function": "my:other"}]}
REWARDS = {"kind": "reward_model", "model": "somebody/rewards", "gives": "score"}
TRAINING = {"loss": "sigmoid", "wpo": False, "ld_alpha": None, "nll_weight": 0.0}
DEFAULTS = {"judge": RULE, "sft": None}
SILENT = {"dropped": {"abstained": 3}}


def finished(root: Path, facts: dict[str, Any] | None = None, **sections: Any) -> Finished:
    """Round 1, as its ledger and its folder tell of it; facts: by step."""
    raw = dict(sections)
    told = {
        "training": {"path": "fast"},
        "scores": {},
        "evaluation": {},
        "gate": {},
        **(facts or {}),
    }
    steps = {
        step: Entry(1, step, f"{step}-fingerprint", facts=of, dropped=of.get("dropped", {}))
        for step, of in told.items()
    }
    training = {**TRAINING, **raw.pop("training", {})}
    return Finished(1, Layout(root), steps, {**DEFAULTS, **raw, "training": training})


def rows(path: Path, schema: Any, found: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, ({**dict.fromkeys(schema.names), **row} for row in found), schema)


@pytest.mark.parametrize(
    ("facts", "sections", "says"),
    [
        ({}, {"training": {"loss": "aot", "wpo": True}}, "gave the pairs of loss aot"),
        ({}, {"training": {"loss": "aot"}}, None),
        ({}, {"training": {"wpo": True}}, None),
        ({}, {"training": {"ld_alpha": 0.5, "nll_weight": 0.1}}, "ld_alpha shortened"),
        ({}, {"training": {"ld_alpha": 0.5, "loss": "ipo"}}, "ld_alpha shortened"),
        ({}, {"training": {"ld_alpha": 0.5}}, None),
        (
            {"scores": {"dropped": {"abstained": 3}}},
            {"judge": COMMITTEE},
            "its mean became a bonus",
        ),
        ({}, {"judge": COMMITTEE}, None),
        ({"scores": SILENT}, {}, None),
    ],
)
def test_by_config_and_ledger(
    tmp_path: Path, facts: dict[str, Any], sections: dict[str, Any], says: str | None
) -> None:
    said = list(faults([finished(tmp_path, facts, **sections)]))
    if says is None:
        assert said == []
    else:
        [sentence] = said
        assert sentence.startswith("round 1, finished by an older version: ") and says in sentence


@pytest.mark.parametrize(
    ("shape", "path", "wrong"),
    [
        ({"model_type": "qwen2_moe"}, "fast", True),
        ({"model_type": "phimoe"}, "fast", True),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "longrope"}}, "fast", True),
        ({"model_type": "qwen2_moe"}, "plain", False),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "default"}}, "fast", False),
    ],
)
def test_families_whose_windows_were_left_out(
    tmp_path: Path, shape: dict[str, Any], path: str, wrong: bool
) -> None:
    found = finished(tmp_path, {"training": {"path": path}})
    assert not list(faults([found]))  # weights that were removed tell nothing
    write_json(found.file("training", "policy") / "config.json", shape)
    assert any("attention windows" in said for said in faults([found])) == wrong


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    found = finished(tmp_path, judge=REWARDS)
    for score, wrong in ((1.0, False), (None, False), (float("nan"), True), (float("inf"), True)):
        rows(found.file("scores", "scores.parquet"), SCORES, [{"score": 0.5}, {"score": score}])
        assert any("no finite numbers" in said for said in faults([found])) == wrong


def test_promotions_on_few_decided_comparisons(tmp_path: Path) -> None:
    asked = {"opponent": "previous", "split": "gate"}
    decided = [{**asked, "outcome": 1.0}] * 9
    for undecided, promoted, wrong in ((1, True, False), (2, True, True), (2, False, False)):
        found = finished(tmp_path, {"gate": {"promoted": promoted}})
        path = found.file("evaluation", "outcomes.parquet")
        rows(path, OUTCOMES, [*decided, *[{**asked, "outcome": None}] * undecided])
        assert any("were undecided" in said for said in faults([found])) == wrong


def test_chats_held_out_of_a_warm_start(tmp_path: Path) -> None:
    found = finished(tmp_path, sft={"path": "warm.jsonl"})
    path = tmp_path / "rounds/00/held_out-12345678/prompts.parquet"
    for row, wrong in (
        ({"text": "one"}, False),
        ({"messages": [{"role": "user", "content": "one"}]}, True),
    ):
        rows(path, PROMPTS, [{"prompt_id": "p", **row}])
        assert any("warm start" in said for said in faults([found])) == wrong
    assert pq.read_schema(path).names == PROMPTS.names


def test_a_gate_that_went_back_over_a_person(tmp_path: Path) -> None:
    found = finished(tmp_path, {"gate": {"gate": {"action": "rollback"}}})
    assert list(faults([found])) == []
    [said] = faults([found], rolled_back=True)
    assert "without regard to a person's rollback" in said


def test_rounds_of_one_fault_stand_in_one_sentence(tmp_path: Path) -> None:
    wrong = finished(tmp_path, training={"loss": "aot", "wpo": True})
    [said] = faults([wrong, Finished(2, wrong.layout, wrong.steps, wrong.settings)])
    assert said.startswith("rounds 1, 2, finished by an older version: ")
