"""Intervals: hand-made cases, refusals, and coverage on simulated campaigns."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from dpo_core.evaluation.intervals import Floats, Interval
from dpo_core.evaluation.statistics import mean_interval, standard_error, win_rate


def test_estimate_is_the_mean_with_ties_as_halves() -> None:
    found = win_rate([1, 0.5, 0, 0.5])
    assert found.estimate == 0.5
    assert 0 <= found.low < 0.5 < found.high <= 1


def test_what_the_page_shows() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, {})
    found = win_rate([1] * 30)
    assert f"30 of 30 is {found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]" in page


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


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["wins", "ties", "probabilities", "clusters"])
def test_coverage(kind: str, p: float) -> None:
    """95 % intervals hold the true win rate in 93 … 97 % of 1,000 simulations.

    The binomial standard deviation of 950 of 1,000 is 0.7 points. At 0.2 and 0.8 half of the
    estimates lie beyond, where the interval is Wilson's: it must not be wider than its neighbours.
    """
    rng = np.random.default_rng(3)
    outcomes, prompts = simulated(kind, p, rng)
    found = [
        win_rate(row, groups=prompts, resamples=200, seed=seed)
        for seed, row in enumerate(outcomes.tolist())
    ]
    assert 930 <= sum(one.low <= p <= one.high for one in found) <= 970


def simulated(kind: str, p: float, rng: np.random.Generator) -> tuple[Floats, list[int] | None]:
    """Outcomes of 1,000 evaluations, shape (1,000, N), with mean p; and the prompt of each."""
    if kind == "wins":
        return (rng.random((1_000, 200)) < p) * 1.0, None
    if kind == "ties":  # 30 %
        won = rng.random((1_000, 200)) < (p - 0.15) / 0.7
        return np.where(rng.random(won.shape) < 0.3, 0.5, won), None
    if kind == "probabilities":
        return rng.beta(4 * p, 4 * (1 - p), size=(1_000, 200)), None
    per_prompt = rng.beta(2 * p, 2 * (1 - p), size=(1_000, 80)).repeat(3, axis=1)
    return (rng.random(per_prompt.shape) < per_prompt) * 1.0, np.arange(80).repeat(3).tolist()


@pytest.mark.parametrize("p", [0.03, 0.93])
def test_coverage_outside(p: float) -> None:
    """Wilson's interval of 200 wins and losses, where counts are few and coverage goes by steps."""
    rng = np.random.default_rng(4)
    outcomes, _ = simulated("wins", p, rng)
    found = [win_rate(row) for row in outcomes.tolist()]
    assert sum(one.low <= p <= one.high for one in found) >= 920


def test_outside_it_is_wilsons_interval() -> None:
    n, z, p = 200, 1.959964, 0.05
    found = win_rate([1.0] * 10 + [0.0] * 190)
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n * n))
    scale = 1 + z**2 / n
    assert (found.low, found.high) == pytest.approx(
        ((centre - half) / scale, (centre + half) / scale), rel=1e-5
    )


def test_outside_ties_say_more_than_wins_and_unequal_groups_less() -> None:
    """Ties at half the rate are 2·p of 1: their interval is half of Wilson's for 2·p."""
    ties = win_rate([0.5] * 20 + [0.0] * 180)
    wins = win_rate([1.0] * 20 + [0.0] * 180)
    assert ties.high == pytest.approx(wins.high / 2, rel=0.02)
    # One prompt with as many answers as all others together: (2·99)²/(99² + 99) = 3.96 prompts.
    lost = win_rate([0.0] * 198, groups=[0] * 99 + list(range(1, 100)))
    z, n = 1.959964, 198**2 / (99**2 + 99)
    assert lost.high == pytest.approx(z * z / (n + z * z), abs=1e-6)


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
