"""What the policy is compared with: whichever weights serve, their log-probs are had once."""

import gc
import math
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dpo_core.hashing import policy_id
from dpo_core.loss_options import TRAITS
from dpo_core.tables import read_rows
from dpo_core.training import policy_in_training
from dpo_core.training.jobs import DpoJob
from dpo_core.training.reference import reference_logps as reference_module
from dpo_core.training.results import DpoResult
from dpo_core.training.runtime import load_master
from dpo_core.training.trainer import train_round

from ..conftest import build_tiny, sentiment, with_logps_of

MakeJob = Callable[..., DpoJob]
Rows = list[dict[str, Any]]
TRAINED = ("policy", "loss", "margin", "first_loss")


def quiet(done: int, total: int, unit: str) -> None:
    pass


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    build_tiny(folder, seed=7)
    return folder


def sums_by_hand(policy: Path, completions: Rows, preferences: Rows) -> dict[str, list[float]]:
    """Pair id → log-probs of (chosen, rejected), each from an unpadded pass of its own."""
    logps = {r["completion_id"]: sum(r["token_logps"]) for r in with_logps_of(policy, completions)}
    return {p["pair_id"]: [logps[p["chosen"]], logps[p["rejected"]]] for p in preferences}


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_another_reference_serves_its_own_log_probs(
    make_job: MakeJob, tiny: Path, other: Path, path: str
) -> None:
    completions, preferences = sentiment(8)
    job = make_job("round", completions, preferences, path=path, reference="base")
    result = train_round(job.model_copy(update={"reference_dir": other}), quiet)
    theirs = sums_by_hand(other, completions, preferences)
    for row in read_rows(job.reference_logps_path):
        assert row["policy"] == result.reference_policy == policy_id(other)
        assert [row["chosen"], row["rejected"]] == pytest.approx(theirs[row["pair_id"]], abs=1e-4)
    # All pairs are in the first step, so its margins are those of the policies as they are.
    ours = sums_by_hand(tiny, completions, preferences)
    margins = [
        (ours[pair][0] - theirs[pair][0]) - (ours[pair][1] - theirs[pair][1]) for pair in ours
    ]
    first = read_rows(job.curve_path)[0]
    assert first["margin"] == pytest.approx(sum(margins) / 8, abs=1e-4)
    assert result.first_margin_max == pytest.approx(max(map(abs, margins)), abs=1e-4)
    assert abs(result.first_loss - math.log(2)) > 1e-4


def test_equal_weights_elsewhere_are_a_reset_reference(
    make_job: MakeJob, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    job = make_job("round", *sentiment(8), reference="base")
    result = train_round(job.model_copy(update={"reference_dir": tmp_path / "copy"}), quiet)
    assert result.first_margin_max == 0
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-6)


def test_one_model_is_in_memory_at_a_time(
    make_job: MakeJob, tiny: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[Path, weakref.ref[Any]]] = []

    def load(folder: Path, device: torch.device) -> Any:
        assert [path for path, model in loaded if model() is not None] == []
        model = load_master(folder, device)
        loaded.append((folder, weakref.ref(model)))
        return model

    monkeypatch.setattr(policy_in_training, "load_master", load)
    gc.disable()  # what is not let go of on purpose stays
    try:
        job = make_job("round", *sentiment(8), reference="base")
        train_round(job.model_copy(update={"reference_dir": other}), quiet)
    finally:
        gc.enable()
    assert [path for path, _ in loaded] == [other, tiny]


@pytest.mark.parametrize("loss", [name for name, traits in TRAITS.items() if not traits.reference])
def test_a_loss_without_a_reference_makes_no_pass(make_job: MakeJob, tiny: Path, loss: str) -> None:
    completions, preferences = sentiment(12)
    sampled = with_logps_of(tiny, completions)
    seen: list[str] = []
    job = make_job("round", sampled, preferences, loss=loss, epochs=3, learning_rate=3e-3)
    result = train_round(job, lambda done, total, unit: seen.append(unit))
    assert set(seen) == {"steps"}
    assert result.reference_policy is None and result.reference_source is None
    assert read_rows(job.reference_logps_path) == []
    curve = read_rows(job.curve_path)
    assert curve[-1]["loss"] < result.first_loss
    for name in ("margin", "accuracy", "chosen_logratio", "implicit_reward_chosen"):
        assert getattr(result, name) is None, name
    assert {row["margin"] for row in curve} == {None}
    assert result.sampling_gap < 1e-5


class Cached:
    """Rounds that share a cache; `train` says where the reference's log-probs came from."""

    def __init__(self, make_job: MakeJob, folder: Path) -> None:
        self.make_job = make_job
        self.folder = folder
        self.count = 0

    def train(self, completions: Rows, preferences: Rows, **options: Any) -> DpoResult:
        self.count += 1
        places = {k: options.pop(k) for k in ("reference_dir", "cache_dir") if k in options}
        job = self.make_job(f"round-{self.count}", completions, preferences, **options)
        update = {"cache_dir": self.folder / "cache", **places}
        return train_round(job.model_copy(update=update), quiet)

    def source(self, completions: Rows, preferences: Rows, **options: Any) -> Any:
        return self.train(completions, preferences, **options).reference_source


@pytest.fixture
def cached(make_job: MakeJob, tmp_path: Path) -> Cached:
    return Cached(make_job, tmp_path)


def test_a_round_trained_again_finds_its_log_probs_and_the_same_weights(
    cached: Cached, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sentiment(12)
    for options in ({}, {"reference": "base", "reference_dir": other}, {"ld_alpha": 0.3}):
        first = cached.train(*rows, **options)
        assert (first.reference_source, first.reference_cached) == ("pass", 0)
        again = cached.train(*rows, **options)
        assert (again.reference_source, again.reference_cached) == ("cache", 12)
        assert [getattr(again, n) for n in TRAINED] == [getattr(first, n) for n in TRAINED]
    monkeypatch.delattr(reference_module, "load_frozen")  # what is not asked is not loaded
    changed = {"learning_rate": 1e-4, "beta": 0.3, "loss": "ipo", "epochs": 2}
    assert cached.source(*rows, reference="base", reference_dir=other, **changed) == "cache"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fresh_adapters_start_at_what_full_weights_found(cached: Cached, dtype: str) -> None:
    rows = sentiment(12)
    cached.train(*rows, compute_dtype=dtype)
    adapted = cached.train(*rows, compute_dtype=dtype, lora={"rank": 2})
    assert adapted.reference_source == "cache" and adapted.first_margin_max == 0


def test_the_cache_knows_weights_token_ids_and_dtype(cached: Cached, other: Path) -> None:
    completions, preferences = sentiment(8)
    assert cached.source(completions, preferences) == "pass"
    assert cached.source(completions, preferences) == "cache"
    for options in (
        {"policy_dir": other},
        {"reference": "base", "reference_dir": other, "compute_dtype": "bfloat16"},
        {"compute_dtype": "bfloat16"},
        {"ld_alpha": 0.5},
        {"pairs_per_step": 3},
        {"micro_batch_tokens": 1},
        {"seed": 2},
    ):
        assert cached.source(completions, preferences, **options) == "pass", options
    tokens = [*completions[-1]["token_ids"]]
    tokens[0] += 1
    one_token = [*completions[:-1], {**completions[-1], "token_ids": tokens}]
    assert cached.source(one_token, preferences) == "pass"
    assert cached.source(completions, preferences) == "cache"


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_made_again(cached: Cached, damage: str) -> None:
    rows = sentiment(40)
    first = cached.train(*rows)
    [file] = (cached.folder / "cache").iterdir()
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 3] ^= 1
    file.write_bytes(content)
    again = cached.train(*rows)
    assert again.reference_source == "pass" and again.policy == first.policy
    assert cached.source(*rows) == "cache"
