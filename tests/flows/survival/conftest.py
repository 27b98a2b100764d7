"""A campaign as small as one can be and still sample in shards, train in steps and promote."""

import json
import sys
from itertools import islice
from pathlib import Path

import pytest
import yaml

from examples.reviews.grammar import reviews

sys.path.insert(0, str(Path(__file__).parent))
from survival_runs import finish

from tests.made_once import made_once

_SFT_ROWS = 2000


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of the campaign that every test here runs."""
    return made_once(tmp_path_factory, "survival", _write_config) / "survival.yaml"


def _write_config(folder: Path) -> None:
    rows = folder / "reviews.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in islice(reviews(seed=1), _SFT_ROWS)))
    campaign = {
        "name": "survival",
        "rounds": 2,
        "threads": 1,
        "policy": {
            "build": "examples.reviews.model:build",
            "build_args": {"hidden_size": 128, "layers": 1},
        },
        "sft": {
            "path": str(rows),
            "steps": 60,
            "batch_size": 32,
            "learning_rate": 5e-3,
            "max_length": 64,
        },
        "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 48},
        "sampling": {
            "engine": "transformers",  # vLLM takes seconds more to import, and nothing hangs on it
            "max_tokens": 24,
            "max_model_len": 64,
            "shard_prompts": 16,
        },
        "judge": {"function": "examples.reviews.judge:score"},
        # One pair per step: training lasts long enough to be killed in the middle.
        "training": {
            "beta": 0.5,
            "learning_rate": 5e-4,
            "warmup_steps": 0,
            "pairs_per_step": 1,
            "checkpoint_every": 8,
        },
        "evaluation": {"gate_prompts": 32, "test_prompts": 32},
        "retries": {"sample": 0, "train": 0},
    }
    (folder / "survival.yaml").write_text(yaml.safe_dump(campaign))


@pytest.fixture(scope="session")
def reference(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign, run once from beginning to end without interruption."""

    def run(folder: Path) -> None:
        finish(config, folder / "reference")

    return made_once(tmp_path_factory, "survived", run) / "reference"
