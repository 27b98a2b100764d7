"""Length-controlled win rates: planted biases, separation, coverage."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from dpo_core.evaluation import Interval, length_controlled_win_rate, win_rate
from dpo_core.evaluation.intervals import Floats
from dpo_core.evaluation.length_control import is_extrapolated


def sigma(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def judged(rng: np.random.Generator, skill: float, bias: float, delta: Floats) -> Floats:
    """Outcomes of a judge who sees `skill` logits and prefers longer answers by `bias`."""
    return (rng.random(len(delta)) < sigma(skill + bias * np.tanh(delta / delta.std()))) * 1.0


def test_by_hand_where_a_third_of_the_outcomes_decides() -> None:
    """Δ takes three values, as often each: the maximum of a saturated model needs no iteration.

    x = tanh(Δ/sd) is −t, 0 and t. With win rates σ(θ − φt), σ(θ) and σ(θ + φt) the model is met
    exactly, so θ is the logit of the win rate among answers of equal length.
    """
    theta, phi = math.log(3), 0.7
    delta = np.repeat([-10.0, 0.0, 10.0], 40)
    outcomes = sigma(theta + phi * np.tanh(delta / delta.std()))  # probabilities are outcomes
    found = length_controlled_win_rate(outcomes.tolist(), delta.tolist())
    assert found.estimate == pytest.approx(0.75, abs=1e-3)
    assert found.low < 0.75 < found.high


def test_a_planted_length_bias_is_removed() -> None:
    """Equal policies, but the first writes more and the judge likes that."""
    rng = np.random.default_rng(0)
    delta = rng.normal(30, 30, size=2_000)
    outcomes = judged(rng, 0.0, 1.5, delta).tolist()
    assert win_rate(outcomes).low > 0.65
    found = length_controlled_win_rate(outcomes, delta.tolist())
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.12


@pytest.mark.parametrize(
    ("longer", "equal", "shorter", "extrapolated"),
    [
        (5, 0, 95, False),
        (4, 0, 96, True),
        (96, 0, 4, True),
        (0, 0, 100, True),
        (0, 5, 95, False),  # those at equal length hold the curve where it is read
        (0, 4, 96, True),
        (0, 100, 0, False),
    ],
)
def test_where_lengths_hardly_overlap_it_is_extrapolated(
    longer: int, equal: int, shorter: int, extrapolated: bool
) -> None:
    assert is_extrapolated([7.0] * longer + [0.0] * equal + [-3.0] * shorter) is extrapolated


def test_zero_is_equally_long_and_not_the_mean() -> None:
    """Read at the mean difference, one standard deviation, it would be σ(1.5·tanh(1)) = 0.76."""
    rng = np.random.default_rng(1)
    delta = rng.normal(30, 30, size=4_000)
    found = length_controlled_win_rate(judged(rng, 0.0, 1.5, delta).tolist(), delta.tolist())
    assert found.estimate == pytest.approx(0.5, abs=0.05)


def test_skill_beside_length_stays_and_skill_through_length_goes() -> None:
    rng = np.random.default_rng(2)
    delta = rng.normal(20, 20, size=4_000)
    beside = length_controlled_win_rate(judged(rng, 1.0, 1.0, delta).tolist(), delta.tolist())
    assert beside.low < sigma(np.array(1.0)) < beside.high
    # Better exactly as far as it says more: the model cannot tell it from a bias.
    through = length_controlled_win_rate(judged(rng, 0.0, 1.0, delta).tolist(), delta.tolist())
    assert through.low < 0.5 < through.high


def test_units_of_length_and_sides_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    delta = rng.normal(10, 30, size=300)
    outcomes = judged(rng, 0.4, 0.8, delta)
    one = length_controlled_win_rate(outcomes.tolist(), delta.tolist())
    scaled = length_controlled_win_rate(outcomes.tolist(), (delta / 1e3).tolist())
    assert ends(scaled) == pytest.approx(ends(one))
    other = length_controlled_win_rate((1 - outcomes).tolist(), (-delta).tolist())
    assert other.estimate == pytest.approx(1 - one.estimate)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_all_alike_has_width(outcome: float) -> None:
    delta = np.random.default_rng(0).normal(size=200).tolist()
    low, estimate, high = ends(length_controlled_win_rate([outcome] * 200, delta))
    assert estimate == pytest.approx(outcome, abs=1e-3)
    assert 0 <= low <= estimate <= high <= 1
    # Jeffreys' prior of comparisons that were all won reaches to the 2.5 % point of
    # Beta(200.5, ½), about 1 − 2.5/200; those of unequal lengths say somewhat less.
    assert 1.5 / 200 < high - low < 5 / 200


def test_where_every_longer_answer_won_it_stays_finite() -> None:
    delta = np.random.default_rng(0).normal(10, 30, size=300)
    outcomes = (delta > 0) * 1.0
    assert win_rate(outcomes.tolist()).estimate > 0.59
    low, estimate, high = ends(length_controlled_win_rate(outcomes.tolist(), delta.tolist()))
    assert low < 0.5 < high and 0.2 < estimate < 0.8


def test_without_differences_it_is_the_win_rate() -> None:
    outcomes = [1.0, 0.5, 0.0, 1.0] * 25
    assert length_controlled_win_rate(outcomes, [0] * 100) == win_rate(outcomes)


def test_one_difference_for_all_cannot_be_told_from_the_policy() -> None:
    assert all(math.isnan(x) for x in ends(length_controlled_win_rate([1.0, 0.0], [7, 7])))


def test_repeats_of_one_prompt_are_not_evidence() -> None:
    rng = np.random.default_rng(4)
    delta = rng.normal(10, 30, size=100)
    outcomes = judged(rng, 0.5, 0.8, delta)
    prompts = [f"p{number}" for number in range(100)]
    once = length_controlled_win_rate(outcomes.tolist(), delta.tolist(), groups=prompts)
    rows = (np.tile(outcomes, 9).tolist(), np.tile(delta, 9).tolist())
    often = length_controlled_win_rate(*rows, groups=prompts * 9)
    naive = length_controlled_win_rate(*rows)
    assert width(often) == pytest.approx(width(once), rel=0.1)
    assert width(naive) == pytest.approx(width(once) / 3, rel=0.15)  # 9 times the outcomes


@pytest.mark.parametrize(
    ("theta", "bias", "ties", "copies"),
    [(-1.3, 0.8, 0.0, 0.0), (0.85, 0.0, 0.3, 0.0), (0.5, 0.8, 0.0, 0.5)],
    ids=["plain", "ties", "clusters"],
)
def test_coverage(theta: float, bias: float, ties: float, copies: float) -> None:
    """95 % intervals hold the true win rate in 93 … 97 % of 1,000 simulations of 200 prompts.

    The binomial standard deviation of 950 of 1,000 is 0.7 points. Ties replace outcomes by ½ where
    length has no influence. Copies are second answers to a prompt that repeat its first.
    """
    rng, held, n = np.random.default_rng(5), 0, 200
    truth = (1 - ties) / (1 + math.exp(-theta)) + ties / 2
    for seed in range(1_000):
        delta = rng.normal(15, 30, size=(2 if copies else 1, n))
        outcomes = (rng.random(delta.shape) < sigma(theta + bias * np.tanh(delta / 30))) * 1.0
        outcomes[rng.random(delta.shape) < ties] = 0.5
        same = rng.random(n) < copies
        delta[-1, same], outcomes[-1, same] = delta[0, same], outcomes[0, same]
        found = length_controlled_win_rate(
            outcomes.ravel().tolist(),
            delta.ravel().tolist(),
            groups=list(range(n)) * len(delta),
            resamples=100,
            seed=seed,
        )
        held += found.low <= truth <= found.high
    assert 930 <= held <= 970


@pytest.mark.parametrize(
    ("outcomes", "delta", "says"),
    [
        ([], [], "at least one"),
        ([1.0], [1.0, 2.0], "1 outcomes, but 2"),
        ([1.2, 0.0], [1.0, 2.0], r"in \[0, 1\]"),
        ([1.0, 0.0], [1.0, math.inf], "finite"),
    ],
)
def test_refusals(outcomes: list[float], delta: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        length_controlled_win_rate(outcomes, delta)


def ends(found: Interval) -> Sequence[float]:
    return found.low, found.estimate, found.high


def width(found: Interval) -> float:
    return found.high - found.low
