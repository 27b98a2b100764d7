"""Weights that were removed to save space are known to be gone, not taken for a corruption."""

from pathlib import Path

import pytest

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import ArtifactCorrupted

RECIPE = Recipe(1, "training", {"beta": 0.1})


def _make(folder: Path) -> StepResult:
    (folder / "policy").mkdir()
    (folder / "policy" / "model.safetensors").write_bytes(b"weights")
    (folder / "training.parquet").write_bytes(b"curve")
    return StepResult()


def test_pruned_step_stays_finished(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    store.prune(store.run(RECIPE, _make), "policy")
    again = Store(tmp_path, threads=1).run(RECIPE, _make)
    assert again.cached
    assert not again.path("policy").exists()
    assert again.path("training.parquet").read_bytes() == b"curve"


def test_weights_that_vanish_unannounced_are_a_corruption(tmp_path: Path) -> None:
    artifact = Store(tmp_path, threads=1).run(RECIPE, _make)
    artifact.path("policy/model.safetensors").unlink()
    with pytest.raises(ArtifactCorrupted, match=r"model\.safetensors"):
        Store(tmp_path, threads=1).run(RECIPE, _make)


def test_pruning_twice_writes_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    artifact = store.run(RECIPE, _make)
    store.prune(artifact, "policy")
    store.prune(artifact, "policy")
    assert [entry.step for entry in store.ledger.read()] == ["training", "prune"]
