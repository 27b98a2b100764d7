"""Intervals: hand-made cases, refusals, and coverage on simulated campaigns."""

import math

import numpy as np
import pytest

from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.statistics import mean_interval, standard_error, win_rate


def test_estimate_is_the_mean_with_ties_as_halves() -> None:
    found = win_rate([1, 0.5, 0, 0.5])
    assert found.estimate == 0.5
    assert 0 <= found.low < 0.5 < found.high <= 1


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_all_alike_still_has_width(outcome: float) -> None:
    # Wilson at p = 0 reaches from 0 to z²/(n + z²); at p = 1 it is the mirror image.
    n, z = 30, 1.959964
    found = win_rate([outcome] * n)
    width = z * z / (n + z * z)
    low, high = (0, width) if outcome == 0 else (1 - width, 1)
    assert (found.estimate, found.low, found.high) == pytest.approx((outcome, low, high), abs=1e-6)


def test_all_ties_say_little_when_there_are_few() -> None:
    found = win_rate([0.5] * 10)
    assert found.low < 0.3 and found.high > 0.7


def test_repeats_of_one_prompt_are_not_evidence() -> None:
    outcomes = [1.0] * 12 + [0.0] * 8
    prompts = [str(number) for number in range(20)]
    once = win_rate(outcomes, groups=prompts)
    often = win_rate(outcomes * 50, groups=prompts * 50)
    assert once.high - once.low == pytest.approx(often.high - often.low, rel=0.02)
    naive = win_rate(outcomes * 50)
    assert naive.high - naive.low < 0.2 * (once.high - once.low)


def test_equal_seeds_and_reordered_rows_give_equal_intervals() -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.choice([0, 0.5, 1], size=60).tolist()
    prompts = [f"p{number % 20}" for number in range(60)]
    forward = win_rate(outcomes, groups=prompts)
    assert forward == win_rate(outcomes[::-1], groups=prompts[::-1])
    few = [win_rate(outcomes, groups=prompts, resamples=50, seed=seed) for seed in (0, 1)]
    assert few[0] != few[1]


def test_chunks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50).tolist()
    whole = mean_interval(values, resamples=500)
    monkeypatch.setattr("dpo_core.evaluation.statistics._DRAWS_AT_ONCE", 50 * 7)
    chunked = mean_interval(values, resamples=500)
    assert (whole.low, whole.high) == pytest.approx((chunked.low, chunked.high), rel=1e-12)


def test_standard_error_by_hand() -> None:
    # Ungrouped: standard deviation of 1, 2, 3, 4 is √(5/3); its mean has √(5/3)/√4.
    assert standard_error([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3) / 2)
    # Two groups with sums 3 and 7 about 2·2.5: residuals −2 and 2, √(2/1·8)/4 = 1.
    assert standard_error([1, 2, 3, 4], groups=["x", "x", "y", "y"]) == pytest.approx(1.0)
    assert math.isnan(standard_error([1, 2], groups=["x", "x"]))


def test_bootstrap_agrees_with_the_standard_error() -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=200).repeat(3) + rng.normal(size=600)).tolist()
    groups = [str(number // 3) for number in range(600)]
    found = mean_interval(values, groups=groups)
    half = 1.96 * standard_error(values, groups)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("p", [0.5, 0.7, 0.93])
def test_coverage_with_several_answers_per_prompt(p: float) -> None:
    """95 % intervals of 400 simulated evaluations hold the true win rate 92–99.9 % of the time.

    The binomial standard deviation of 380 of 400 is 1.1 points; Wilson counts prompts only, so it
    may hold it more often.
    """
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        # Beta(4p, 4(1 − p)) per prompt: mean p, and answers to one prompt are alike.
        per_prompt = rng.beta(4 * p, 4 * (1 - p), size=120).repeat(2)
        outcomes = (rng.random(240) < per_prompt).astype(float).tolist()
        found = win_rate(outcomes, groups=[number // 2 for number in range(240)], resamples=400)
        held += found.low <= p <= found.high
    assert 0.92 <= held / 400 <= 0.999


@pytest.mark.parametrize(
    ("outcomes", "groups", "says"),
    [
        ([], None, "at least one"),
        ([0.5, 1.2], None, r"in \[0, 1\]"),
        ([-0.1], None, r"in \[0, 1\]"),
        ([math.nan], None, "finite"),
        ([1.0, 0.0], ["x"], "1 groups"),
    ],
)
def test_refusals(outcomes: list[float], groups: list[str] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        win_rate(outcomes, groups=groups)


def test_refuses_an_impossible_confidence() -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0], confidence=1.0)


def test_constant_values_have_no_width() -> None:
    assert mean_interval([0.1] * 7) == Interval(*[pytest.approx(0.1)] * 3)
