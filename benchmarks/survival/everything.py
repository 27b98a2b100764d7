"""The campaign: every kind of step there is, small enough to be run dozens of times."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from examples.reviews.grammar import prompts, reviews

_SFT_ROWS = 600
_GOLD = 3


def write_campaign(folder: Path, endpoint: str) -> Path:
    """Its config, and the files that this names; the path of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row) for row in islice(reviews(seed=1), _SFT_ROWS)]
    (folder / "reviews.jsonl").write_text("\n".join(rows) + "\n")
    pool = list(prompts())
    (folder / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool[:4]))
    gold = [{**_GOLD_PAIR, "prompt": f"This film, number {n}, was"} for n in range(_GOLD)]
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gold))
    (folder / "survival_judge.py").write_text(_JUDGE)
    path = folder / "survival.yaml"
    path.write_text(yaml.safe_dump(_config(folder, endpoint)))
    return path


_JUDGE = """
def score(completions):
    return [float(len(completion.text)) for completion in completions]
"""
"""Answers of a policy that learnt next to nothing differ in their length."""
_GOLD_PAIR = {"a": "lovely and brilliant.", "b": "dull and awful.", "verdict": "a"}


def _config(folder: Path, endpoint: str) -> dict[str, Any]:
    rule = {"kind": "rule", "function": "survival_judge:score"}
    model = {
        "kind": "llm",
        "model": "reader",
        "endpoint": endpoint,
        "api_key_env": None,
        "timeout_s": 2,
        "concurrency": 2,
    }
    return {
        "name": "survival",
        "rounds": 2,
        "threads": 1,
        "policy": {
            "build": "examples.reviews.model:build",
            "build_args": {"hidden_size": 64, "layers": 1},
        },
        "sft": {"path": str(folder / "reviews.jsonl"), "steps": 20, "batch_size": 16},
        "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 16},
        "sampling": {
            "engine": "transformers",
            "max_tokens": 16,
            "max_model_len": 64,
            "shard_prompts": 4,
        },
        "judge": {"kind": "committee", "members": [rule, model, {"kind": "human", "weight": 2}]},
        "evaluation_judge": {"kind": "committee", "members": [rule, model]},
        "people": {
            "poll_s": 0.5,
            "choose": "random",
            "gold": str(folder / "gold.jsonl"),
            "gold_share": 0.2,
            "repeat_share": 0.2,
        },
        "budget": {"human_labels": 8},
        "pairs": {"strategy": "best_random", "truncated": "keep"},
        "audit": {"allow": ["dropped", "truncated", "ties", "eos_missing", "length_skew"]},
        "data": {"rounds": "all"},
        "training": {
            "beta": 0.5,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "pairs_per_step": 1,
            "checkpoint_every": 4,
            "lora": {"rank": 4},
        },
        "evaluation": {
            "gate_prompts": 8,
            "test_prompts": 8,
            "bootstrap_resamples": 100,
            "suites": {"start": {"prompts": str(folder / "suite.jsonl"), "judge": rule}},
        },
        "gate": {"use": "estimate", "threshold": 0.0},
        "retries": {"delay_s": 0.2},
        "track": "mlflow",
    }
