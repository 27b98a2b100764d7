"""A round trains only on answers of its own policy: stale weights in the sampler are caught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import InvariantViolated
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.reference.reference_logps import CHECKED_PAIRS
from dpo_core.training.trainer import train_round

from ..conftest import build_tiny, sentiment, with_logps_of

UNTOLD = {"token_logps": None}


def test_answers_of_the_policy_pass(make_job: Callable[..., DpoJob], tiny: Path) -> None:
    completions, preferences = sentiment(8)
    job = make_job("own", with_logps_of(tiny, completions), preferences)
    result = train_round(job, lambda done, total, unit: None)
    assert result.sampling_gap < 1e-5


@pytest.mark.parametrize(
    "config",
    [{}, {"reference": "base"}, {"loss": "simpo"}, {"reference_logps": "from_sampling"}],
    ids=["reset", "base", "no reference", "from sampling"],
)
def test_answers_of_other_weights_are_refused(
    make_job: Callable[..., DpoJob], tmp_path: Path, config: dict[str, Any]
) -> None:
    """Whatever the reference is, and the more so where the sampler's log-probs would serve."""
    completions, preferences = sentiment(8)
    build_tiny(tmp_path / "other", seed=99)
    stale = with_logps_of(tmp_path / "other", completions)
    build_tiny(tmp_path / "base", seed=7)
    update = {"reference_dir": tmp_path / "base"} if "reference" in config else {}
    job = make_job("stale", stale, preferences, **config).model_copy(update=update)
    with pytest.raises(InvariantViolated, match="not sampled by the policy"):
        train_round(job, lambda done, total, unit: None)
    assert not job.out_dir.exists()


def test_of_pairs_with_another_models_answer_the_chosen_one_alone_is_looked_at(
    make_job: Callable[..., DpoJob], tiny: Path, tmp_path: Path
) -> None:
    """The rejected one has no log-probs of the policy; a chosen one of stale weights is caught."""
    completions, preferences = sentiment(8)
    chosen = {row["chosen"] for row in preferences}
    build_tiny(tmp_path / "other", seed=99)

    def told(weights: Path) -> list[dict[str, Any]]:
        rows = with_logps_of(weights, completions)
        return [{**r, **({} if r["completion_id"] in chosen else UNTOLD)} for r in rows]

    gap = train_round(make_job("own", told(tiny), preferences), quiet).sampling_gap
    assert gap is not None and gap < 1e-5
    with pytest.raises(InvariantViolated, match="not sampled by the policy"):
        train_round(make_job("stale", told(tmp_path / "other"), preferences), quiet)


@pytest.mark.parametrize("config", [{}, {"loss": "simpo"}], ids=["reset", "no reference"])
def test_one_own_answer_among_replayed_ones_is_looked_at(
    make_job: Callable[..., DpoJob], tmp_path: Path, config: dict[str, Any]
) -> None:
    """Replayed answers come without log-probs; the check must find the one pair that has some."""
    completions, preferences = sentiment(CHECKED_PAIRS + 8)
    job = make_job("replayed", completions, preferences, seed=1, **config)
    steps = optimiser_steps(load_pairs(job.preferences, job.completions), 8, seed=1, epoch=0)
    last = list(steps)[-1][-1].pair_id
    (own,) = (row for row in preferences if row["pair_id"] == last)
    build_tiny(tmp_path / "other", seed=99)
    mixed = [
        with_logps_of(tmp_path / "other", [row])[0]
        if row["completion_id"] in (own["chosen"], own["rejected"])
        else row
        for row in completions
    ]
    with pytest.raises(InvariantViolated, match="not sampled by the policy"):
        train_round(make_job("stale", mixed, preferences, seed=1, **config), quiet)
    known = train_round(job, quiet)
    assert known.sampling_gap is None, "without any log-probs there is nothing to compare"


def quiet(done: int, total: int, unit: str) -> None:
    pass
