"""The sampler's log-probs in place of a reference pass: tested on some pairs, refused aloud."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.reference.reference_logps import CHECKED_PAIRS
from dpo_core.training.trainer import train_round

from ..conftest import sentiment, with_logps_of

MakeJob = Callable[..., DpoJob]
Rows = list[dict[str, Any]]
PAIRS = CHECKED_PAIRS + 16


@pytest.fixture(scope="module")
def sampled(tiny: Path) -> tuple[Rows, Rows]:
    completions, preferences = sentiment(PAIRS)
    return with_logps_of(tiny, completions), preferences


def train(make_job: MakeJob, name: str, rows: tuple[Rows, Rows], **options: Any) -> Any:
    """(job, what train_round returns, what it was doing meanwhile)"""
    doing: list[str] = []
    job = make_job(name, *rows, **options)
    return job, train_round(job, lambda done, total, unit: doing.append(unit)), set(doing)


def moved(rows: tuple[Rows, Rows], name: str, nats: float) -> tuple[Rows, Rows]:
    """The rows with `nats` more in the first log-prob of completion `name`."""
    completions, preferences = rows
    return [
        {**row, "token_logps": [row["token_logps"][0] + nats, *row["token_logps"][1:]]}
        if row["completion_id"] == name
        else row
        for row in completions
    ], preferences


def test_they_serve_without_a_pass(make_job: MakeJob, sampled: tuple[Rows, Rows]) -> None:
    job, result, doing = train(make_job, "sampled", sampled, reference_logps="from_sampling")
    assert doing == {"steps"}
    assert result.reference_source == "sampling" and not result.from_sampling_refused
    assert result.from_sampling_checked == CHECKED_PAIRS
    assert 0 < result.from_sampling_mean <= result.from_sampling_largest < 1e-5
    assert result.sampling_gap == result.from_sampling_mean
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-5)
    passed, by_pass, doing = train(make_job, "pass", sampled)
    assert doing == {"pairs, reference pass", "steps"}
    for name in ("loss", "margin", "gradient_weight"):
        assert getattr(result, name) == pytest.approx(getattr(by_pass, name), abs=1e-4), name
    mine, theirs = (load_file(j.out_dir / "model.safetensors") for j in (job, passed))
    for name, tensor in theirs.items():
        assert_close(mine[name], tensor, rtol=0, atol=2e-5)
    rows, by_pass_rows = (read_rows(j.reference_logps_path) for j in (job, passed))
    for row, other in zip(rows, by_pass_rows, strict=True):
        assert row["policy"] == other["policy"]
        assert row["chosen"] == pytest.approx(other["chosen"], abs=1e-4)


def first_trained_on(make_job: MakeJob, rows: tuple[Rows, Rows]) -> str:
    """Name of the chosen completion of a pair in the first optimiser step."""
    job = make_job("order", *rows)
    pairs = load_pairs(job.preferences, job.completions)
    first = next(optimiser_steps(pairs, job.config.pairs_per_step, job.seed, 0))[0]
    [name] = [row["chosen"] for row in rows[1] if row["pair_id"] == first.pair_id]
    return str(name)


@pytest.mark.parametrize("nats", [0.003, -0.003])
def test_one_that_is_off_makes_a_pass(
    make_job: MakeJob,
    sampled: tuple[Rows, Rows],
    caplog: pytest.LogCaptureFixture,
    nats: float,
) -> None:
    wrong = moved(sampled, first_trained_on(make_job, sampled), nats)
    with caplog.at_level(logging.WARNING):
        _, result, doing = train(make_job, "wrong", wrong, reference_logps="from_sampling")
    assert "pairs, reference pass" in doing and result.reference_source == "pass"
    # Completions have 2 to 4 tokens; the bound is 1e-4 nats per token.
    assert 0.003 / 4 - 1e-5 < result.from_sampling_largest < 0.003 / 2 + 1e-5
    assert 0 < result.from_sampling_mean < 1e-4
    assert "more than 1e-04" in result.from_sampling_refused
    [warning] = [w for w in result.warnings if w.name == "sampled_logps"]
    assert result.from_sampling_refused in warning.message
    assert warning.message in caplog.text
    _, by_pass, _ = train(make_job, "pass", sampled)
    assert result.policy == by_pass.policy


@pytest.mark.parametrize("logps", [None, [math.nan]], ids=["none", "no number"])
def test_a_sampler_that_did_not_say_makes_a_pass(
    make_job: MakeJob, sampled: tuple[Rows, Rows], logps: list[float] | None
) -> None:
    completions, preferences = sampled
    rows = ([*completions[:-1], {**completions[-1], "token_logps": logps}], preferences)
    _, result, _ = train(make_job, "silent", rows, reference_logps="from_sampling")
    assert result.reference_source == "pass"
    assert preferences[-1]["pair_id"] in result.from_sampling_refused


def test_bounds_are_those_of_the_dtype(make_job: MakeJob, sampled: tuple[Rows, Rows]) -> None:
    options = {"reference_logps": "from_sampling", "compute_dtype": "bfloat16"}
    _, result, _ = train(make_job, "bfloat16", sampled, **options)
    assert 1e-4 < result.from_sampling_largest < 5e-2
    assert result.reference_source == "sampling"
