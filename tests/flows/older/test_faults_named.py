"""Of rounds that an older version finished it is said what was wrong in them, and of no other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.schemas import COMPLETIONS, OUTCOMES, PREFERENCES, PROMPTS, SCORES
from dpo_core.tables import write_rows
from flows.config.raw import RawConfig
from flows.older.faults import FinishedRound, describe_faults

RULE = {"kind": "rule", "function": "my:rule", "gives": "score"}
COMMITTEE = {"kind": "committee", "members": [RULE, {**RULE, "function": "my:other"}]}
REWARDS = {"kind": "reward_model", "model": "somebody/rewards", "gives": "score"}
TRAINING = {"loss": "sigmoid", "wpo": False, "ld_alpha": None, "nll_weight": 0.0}
DEFAULTS = {"judge": RULE, "sft": None}
SILENT = {"dropped": {"abstained": 3}}


def finished(root: Path, facts: dict[str, Any] | None = None, **sections: Any) -> FinishedRound:
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
    settings = {**DEFAULTS, **raw, "training": {**TRAINING, **raw.get("training", {})}}
    return FinishedRound(1, Layout(root), steps, RawConfig(settings))


def rows(path: Path, schema: Any, found: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, ({**dict.fromkeys(schema.names), **row} for row in found), schema)


@pytest.mark.parametrize(
    ("facts", "sections", "says"),
    [
        ({}, {"training": {"loss": "aot", "wpo": True}}, "gave pairs of loss aot"),
        ({}, {"training": {"loss": "aot"}}, None),
        ({}, {"training": {"wpo": True}}, None),
        ({}, {"training": {"ld_alpha": 0.5, "nll_weight": 0.1}}, "ld_alpha shortened"),
        ({}, {"training": {"ld_alpha": 0.5, "loss": "ipo"}}, "ld_alpha shortened"),
        ({}, {"training": {"ld_alpha": 0.5}}, None),
        ({}, {"training": {"ld_alpha": 1.0, "loss": "ipo"}}, None),
        (
            {"scores": {"dropped": {"abstained": 3}}},
            {"judge": COMMITTEE},
            "its mean score became a bonus",
        ),
        ({}, {"judge": COMMITTEE}, None),
        ({"scores": SILENT}, {}, None),
    ],
)
def test_by_config_and_ledger(
    tmp_path: Path, facts: dict[str, Any], sections: dict[str, Any], says: str | None
) -> None:
    said = list(describe_faults([finished(tmp_path, facts, **sections)]))
    if says is None:
        assert said == []
    else:
        [sentence] = said
        assert sentence.startswith("round 1, finished by an older version: ") and says in sentence


PROMPT, CHOSEN, REJECTED = 3, 9, 4
LONGEST = PROMPT + CHOSEN
"""Tokens of the longest sequence of the round that `trained` writes."""


def trained(root: Path, shape: dict[str, Any], path: str) -> FinishedRound:
    """Round 1 with its policy's config and the pairs that it trained on, in another step's files,
    beside a longer answer that is in no pair."""
    found = finished(root, {"training": {"path": path}, "data": {}})
    hashes = {name: f"hash of {name}" for name in ("preferences", "completions")}
    data = replace(found.steps["data"], outputs={f"{k}.parquet": v for k, v in hashes.items()})
    training = replace(found.steps["training"], inputs=hashes)
    found = replace(found, steps={**found.steps, "data": data, "training": training})
    rows(
        found.file("data", "completions.parquet"),
        COMPLETIONS,
        [
            {"completion_id": name, "prompt_token_ids": [5] * PROMPT, "token_ids": [6] * tokens}
            for name, tokens in (("a", CHOSEN), ("b", REJECTED), ("alone", 99))
        ],
    )
    pair = {"pair_id": "p", "chosen": "a", "rejected": "b"}
    rows(found.file("data", "preferences.parquet"), PREFERENCES, [pair])
    write_json(found.file("training", "policy") / "config.json", shape)
    return found


def short_by(tokens: int) -> dict[str, Any]:
    return {"sliding_window": LONGEST - tokens}


ROPE = "rotary embedding of longer ones"
WINDOW = "attention window"
LONGROPE = {"rope_type": "longrope", "original_max_position_embeddings": LONGEST - 1}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}


@pytest.mark.parametrize(
    ("shape", "path", "says"),
    [
        ({"model_type": "phimoe", **short_by(1)}, "fast", WINDOW),
        ({"model_type": "olmoe", **short_by(1)}, "fast", WINDOW),
        ({"model_type": "doge", **short_by(1)}, "fast", WINDOW),
        ({"model_type": "qwen2_moe", "use_sliding_window": True, **short_by(1)}, "fast", WINDOW),
        ({"model_type": "qwen2_moe", "use_sliding_window": False, **short_by(1)}, "fast", None),
        ({"model_type": "phimoe", **short_by(0)}, "fast", None),
        ({"model_type": "phimoe", "sliding_window": None}, "fast", None),
        ({"model_type": "phimoe", **short_by(1)}, "plain", None),
        ({"model_type": "mistral", **short_by(1)}, "fast", None),
        ({"model_type": "phi3", "rope_parameters": LONGROPE}, "fast", ROPE),
        ({"model_type": "phi3", "rope_parameters": LONGROPE}, "plain", ROPE),
        (
            {
                "rope_scaling": {"type": "longrope"},
                "original_max_position_embeddings": LONGEST - 1,
                "max_position_embeddings": 4 * LONGEST,
            },
            "plain",
            ROPE,
        ),
        (
            {"rope_parameters": {**LONGROPE, "original_max_position_embeddings": LONGEST}},
            "plain",
            None,
        ),
        ({"rope_parameters": DYNAMIC, "max_position_embeddings": LONGEST - 1}, "plain", ROPE),
        ({"rope_parameters": DYNAMIC, "max_position_embeddings": LONGEST}, "fast", None),
        (
            {
                "rope_parameters": {"full_attention": DYNAMIC, "sliding_attention": {}},
                "max_position_embeddings": LONGEST - 1,
            },
            "plain",
            ROPE,
        ),
        (
            {"rope_parameters": {"rope_type": "yarn"}, "max_position_embeddings": LONGEST - 1},
            "fast",
            None,
        ),
    ],
)
def test_windows_and_ropes_of_which_pairs_went_beyond_the_limit(
    tmp_path: Path, shape: dict[str, Any], path: str, says: str | None
) -> None:
    said = list(describe_faults([trained(tmp_path, shape, path)]))
    if says is None:
        assert said == []
    else:
        [sentence] = said
        assert says in sentence


def test_pairs_that_are_gone_tell_nothing_and_removed_weights_have_the_bases_shape(
    tmp_path: Path,
) -> None:
    found = trained(tmp_path, {"rope_parameters": LONGROPE}, "fast")
    config = found.file("training", "policy") / "config.json"
    base = found.layout.step(0, "base", "base-fingerprint") / "policy" / "config.json"
    base.parent.mkdir(parents=True)
    config.rename(base)
    assert len(list(describe_faults([found]))) == 1
    for name in ("completions.parquet", "preferences.parquet"):
        file = found.file("data", name)
        file.rename(tmp_path / name)
        assert list(describe_faults([found])) == []
        (tmp_path / name).rename(file)
    base.unlink()
    assert list(describe_faults([found])) == []


WITHIN = "GemmaForCausalLM cannot take the fast path: TypeError: forward() got an argument"
CACHED = {"reference_policy": "policy", "reference_source": "cache", "sampling_gap": 1e-7}


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        (CACHED, True),
        ({**CACHED, "reference_source": "pass"}, False),
        ({**CACHED, "reference_source": "pass", "resumed_from_step": 4}, True),
        ({**CACHED, "from_sampling_checked": 8}, False),
        ({**CACHED, "reference_policy": "base"}, False),
        ({**CACHED, "reference_policy": "base", "sampling_gap": None}, True),
        ({**CACHED, "processes": 1}, False),
        ({**CACHED, "why_not_fast": "training.path is plain"}, False),
        (
            {
                **CACHED,
                "why_not_fast": "MambaForCausalLM cannot take the fast path: NotImplementedError: "
                "its attention cannot be selected by name",
            },
            False,
        ),
        (
            {
                **CACHED,
                "why_not_fast": "GemmaForCausalLM cannot take the fast path: it differs from the "
                "plain path by 1.0e-01 nats per token",
            },
            False,
        ),
    ],
)
def test_processes_that_trained_copies_of_weights(
    tmp_path: Path, facts: dict[str, Any], wrong: bool
) -> None:
    told = {"path": "plain", "processes": 2, "why_not_fast": WITHIN, **facts}
    found = finished(tmp_path, {"training": told})
    training = replace(found.steps["training"], inputs={"policy": "policy"})
    said = list(describe_faults([replace(found, steps={**found.steps, "training": training})]))
    assert any("failing layer unchanged" in sentence for sentence in said) == wrong == bool(said)


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    found = finished(tmp_path, judge=REWARDS)
    for score, wrong in ((1.0, False), (None, False), (float("nan"), True), (float("inf"), True)):
        rows(found.file("scores", "scores.parquet"), SCORES, [{"score": 0.5}, {"score": score}])
        assert any("were not finite" in said for said in describe_faults([found])) == wrong


def test_promotions_on_few_decided_comparisons(tmp_path: Path) -> None:
    asked = {"opponent": "previous", "split": "gate"}
    decided = [{**asked, "outcome": 1.0}] * 9
    for undecided, promoted, wrong in ((1, True, False), (2, True, True), (2, False, False)):
        found = finished(tmp_path, {"gate": {"promoted": promoted}})
        path = found.file("evaluation", "outcomes.parquet")
        rows(path, OUTCOMES, [*decided, *[{**asked, "outcome": None}] * undecided])
        assert any("comparisons undecided" in said for said in describe_faults([found])) == wrong


def test_chats_held_out_of_a_warm_start(tmp_path: Path) -> None:
    found = finished(tmp_path, sft={"path": "warm.jsonl"})
    path = tmp_path / "rounds/00/held_out-12345678/prompts.parquet"
    for row, wrong in (
        ({"text": "one"}, False),
        ({"messages": [{"role": "user", "content": "one"}]}, True),
    ):
        rows(path, PROMPTS, [{"prompt_id": "p", **row}])
        assert any("warm start" in said for said in describe_faults([found])) == wrong
    assert pq.read_schema(path).names == PROMPTS.names


def test_a_gate_that_went_back_over_a_person(tmp_path: Path) -> None:
    found = finished(tmp_path, {"gate": {"gate": {"action": "rollback"}}})
    assert list(describe_faults([found])) == []
    [said] = describe_faults([found], rolled_back=True)
    assert "ignoring a person's rollback" in said


def test_rounds_of_one_fault_stand_in_one_sentence(tmp_path: Path) -> None:
    wrong = finished(tmp_path, training={"loss": "aot", "wpo": True})
    [said] = describe_faults([wrong, FinishedRound(2, wrong.layout, wrong.steps, wrong.settings)])
    assert said.startswith("rounds 1, 2, finished by an older version: ")
