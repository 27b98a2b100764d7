"""Which win rate a campaign's gate can see, and how many prompts are held out for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config import CampaignConfig, validate
from flows.evaluation.held_out import count_to_hold_out, draw_evaluation_prompts
from flows.gate.power import gate_power, promotion_rule

RAW: dict[str, Any] = {
    "name": "power",
    "policy": {"build": "m:f"},
    "prompts": {"path": "p.jsonl"},
    "judge": {"function": "m:f"},
}


def config(**sections: Any) -> CampaignConfig:
    return validate({**RAW, **sections}, "test")


def test_the_rule_is_the_gates_own() -> None:
    assert promotion_rule(config()).confidence == 0.95
    assert promotion_rule(config(evaluation={"confidence": 0.9})).confidence == 0.9
    estimate = promotion_rule(config(gate={"use": "estimate", "threshold": 0.55}))
    assert (estimate.threshold, estimate.confidence, estimate.alpha) == (0.55, None, None)
    # Nine tenths of 0.05 for four planned decisions.
    certified = promotion_rule(config(gate={"false_promotions": 0.05}, rounds=4))
    assert certified.alpha == pytest.approx(0.9 * 0.05 / 4)


def test_what_few_and_many_prompts_see() -> None:
    few, many = gate_power(config(), 38), gate_power(config(), 1024)
    assert few.weak and not many.weak
    assert few.sentence.startswith("38 gate prompts detect a win rate of 7")
    assert "the lower bound of its 95% interval must be above 50%" in few.sentence
    assert few.needed is not None and 180 < few.needed < 210
    assert few.sentence.endswith(f"; 60% needs about {few.needed}")
    assert many.needed is None
    assert "2 gate prompts promote no policy, however good" in gate_power(config(), 2).sentence


def test_an_estimate_is_said_to_be_chance() -> None:
    found = gate_power(config(gate={"use": "estimate"}), 256)
    assert "which chance alone reaches in half of all rounds" in found.sentence


def test_more_answers_to_a_prompt_tell_at_best_as_much_as_more_prompts() -> None:
    found = gate_power(config(evaluation={"samples_per_prompt": 4}), 64)
    alone, apart = gate_power(config(), 64).win_rate, gate_power(config(), 256).win_rate
    assert (found.win_rate, found.at_best) == (alone, apart)
    assert "64 gate prompts, 4 answers each, detect" in found.sentence
    assert "if answers to one prompt were independent" in found.sentence
    certified = {"gate": {"false_promotions": 0.05}, "evaluation": {"samples_per_prompt": 4}}
    assert gate_power(config(**certified), 64).at_best is None, "they are one outcome"


def test_what_is_little_depends_on_the_threshold() -> None:
    assert not gate_power(config(gate={"threshold": 0.6}), 256).weak, "69 %"
    assert gate_power(config(gate={"threshold": 0.4}), 64).weak, "58 %"


@pytest.mark.parametrize(
    ("gate", "pool", "expected"),
    [({}, 5000, 1024), ({}, 400, 400), ({"at_most_prompts": 300}, 5000, 300)],
)
def test_a_certified_gate_looks_at_more(gate: dict[str, Any], pool: int, expected: int) -> None:
    given = config(gate={"false_promotions": 0.05, **gate})
    assert gate_power(given, 256, pool).prompts == expected


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [(24, 3000, 24), ("auto", 3000, 375), ("auto", 1000, 256), ("auto", 40, 256)],
)
def test_sizes_follow_the_pool(asked: Any, there: int, expected: int) -> None:
    assert count_to_hold_out(asked, there) == expected
    assert count_to_hold_out("auto", 10**6) == 1024


def test_the_draw_begins_with_the_same_prompts_whatever_its_size(tmp_path: Path) -> None:
    pool = tmp_path / "p.jsonl"
    pool.write_text("".join(json.dumps({"prompt": f"Why {n}?"}) + "\n" for n in range(6000)))
    prompts = {"path": str(pool), "gate_share": 0.5, "test_share": 0.1}
    drawn = draw_evaluation_prompts(config(prompts=prompts))
    splits = [prompt.split for prompt in drawn.prompts]
    in_gate = count_to_hold_out("auto", 6000 // 2)
    assert splits.count("gate") == pytest.approx(in_gate, abs=12) and in_gate == 375
    assert splits.count("test") == 256
    assert drawn.pool == len(drawn.prompts) + sum(drawn.dropped.values())
    fixed = {"gate_prompts": 20, "test_prompts": 10}
    few = draw_evaluation_prompts(config(prompts=prompts, evaluation=fixed)).prompts
    ids = [prompt.prompt_id for prompt in drawn.prompts if prompt.split == "gate"]
    assert [prompt.prompt_id for prompt in few if prompt.split == "gate"] == ids[:20]
    gate = {"false_promotions": 0.05, "at_most_prompts": 50}
    certified = draw_evaluation_prompts(config(prompts=prompts, gate=gate)).prompts
    assert sum(prompt.split == "gate" for prompt in certified) == 50


def test_groups_are_what_a_certificate_counts() -> None:
    together: dict[str, Any] = {"prompts": {"path": "p.jsonl", "split_by": "group"}}
    certified: dict[str, Any] = {"gate": {"false_promotions": 0.05, "at_most_prompts": 384}}
    few = gate_power(config(**together, **certified), 384, groups=48)
    assert few.win_rate == gate_power(config(**certified), 48).win_rate
    assert few.sentence.startswith("384 gate prompts of 48 groups detect a win rate of")
    assert few.sentence.endswith(" groups")
    more = config(gate={"false_promotions": 0.05}, **together)
    assert gate_power(more, 100, 400, groups=50).groups == 200, "it may look at the pool"
    assert gate_power(config(**together), 384, groups=48) == gate_power(config(), 384)
