"""A tiny twin of each published recipe runs a round: the recipe's method, all else small.

Replaced are the policy (built, with a warm start), the model whose answers are rejected (built,
without one), the prompts, the judge (a rule that likes short answers), sizes, the learning rate,
and what needs a GPU. What is left is what a recipe is about: strategy of pairs, loss and its
numbers, reference, schedule, temperature and gate.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.reviews.model import build
from tests.flows.small_campaign import CONFIG, ROOT, Campaign

RECIPES = sorted((ROOT / "configs" / "recipes").glob("*.yaml"))
NEEDS_A_GPU = ("tensor_parallel_size", "max_model_len")
SAMPLES = 6
METHOD = ("loss", "beta", "simpo_gamma", "nll_weight", "reference", "schedule", "epochs")


def twin(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    sampling = {k: v for k, v in recipe["sampling"].items() if k not in NEEDS_A_GPU}
    samples = min(SAMPLES, sampling["samples_per_prompt"])
    sizes = {"learning_rate": 1e-3, "pairs_per_step": 8, "compute_dtype": "float32"}
    pairs = dict(recipe["pairs"])
    if pairs.get("rejected_from") is not None:
        build(folder / "weak", seed=1, hidden_size=16, layers=1)
        pairs |= {"rejected_from": str(folder / "weak"), "truncated": "reject"}  # it hardly ends
    return {
        **CONFIG,
        "rounds": 1,
        "sampling": {**sampling, **CONFIG["sampling"], "samples_per_prompt": samples},
        "pairs": pairs,
        "training": {**recipe["training"], **sizes},
        "gate": recipe["gate"],
    }


@pytest.mark.proof
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_tiny_twin_runs_a_round(path: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    campaign = Campaign.create(tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(twin(recipe, tmp_path)), encoding="utf-8")
    run = campaign.run()
    assert run.returncode == 0, run.stderr
    config = yaml.safe_load(campaign.layout.config.read_text(encoding="utf-8"))
    for key in METHOD:
        assert config["training"][key] == recipe["training"].get(key, config["training"][key])
    pairs, training = (campaign.artifact(1, step) for step in ("pairs", "training"))
    assert pairs.entry.kept > 0
    row = json.loads(campaign.artifact(1, "gate").path("metrics.json").read_text())
    assert row["pairs_delta"] == (row["pairs"] if "rejected_from" in recipe["pairs"] else 0)
    base = campaign.artifact(0, "base").entry.facts["policy"]
    assert training.entry.facts["policy"] != base
    assert campaign.artifact(1, "gate").entry.facts["gate"]
