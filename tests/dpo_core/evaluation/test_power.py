"""Which win rate a gate can see, against the rules themselves on outcomes that are drawn."""

import math

import numpy as np
import pytest

from dpo_core.evaluation.certification import cannot_win, evidence, log_wealth
from dpo_core.evaluation.power import PromotionRule, detectable_win_rate, prompts_needed
from dpo_core.evaluation.statistics import win_rate

LOWER = PromotionRule(0.5, confidence=0.95)
ESTIMATE = PromotionRule(0.5)
CERTIFIED = PromotionRule(0.5, alpha=0.015)


def seen(rule: PromotionRule, n: int) -> float:
    found = detectable_win_rate(rule, n)
    assert found is not None
    return found


def test_by_hand() -> None:
    """Of one comparison the win decides: it comes with a chance of 0.8 at a rate of 0.8. Of two,
    both must be won: √0.8."""
    assert seen(ESTIMATE, 1) == pytest.approx(0.8)
    assert seen(ESTIMATE, 2) == pytest.approx(math.sqrt(0.8))
    assert seen(PromotionRule(0.4), 2) == pytest.approx(1 - math.sqrt(0.2)), "one is enough"


def test_by_the_normal_formula() -> None:
    """½ + (1.96 + 0.84)·σ/√n, and without 1.96 for the estimate."""
    for rule, z in ((LOWER, 2.80), (ESTIMATE, 0.84)):
        assert seen(rule, 1024) == pytest.approx(0.5 + z * 0.5 / 32, abs=0.004)


@pytest.mark.parametrize("n", [24, 256])
@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_the_lower_end_promotes_four_times_of_five(n: int, threshold: float) -> None:
    """By the interval of the evaluation, which depends on the number of wins alone."""
    rule = PromotionRule(threshold, confidence=0.95)
    wins = np.random.default_rng(3).binomial(n, seen(rule, n), size=20_000)
    lows = {w: win_rate([1.0] * w + [0.0] * (n - w), resamples=2000).low for w in set(wins)}
    power = np.mean([lows[w] > threshold for w in wins])
    one_win = 0.04 if n > 100 else 0.11  # more or less, of what the number of wins jumps by
    assert power == pytest.approx(0.8, abs=one_win)


def test_the_estimate_promotes_four_times_of_five() -> None:
    wins = np.random.default_rng(4).binomial(101, seen(ESTIMATE, 101), size=50_000)
    assert np.mean(wins / 101 > 0.5) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("n", [128, 1024])
def test_a_certified_gate_promotes_four_times_of_five_or_a_little_more(n: int) -> None:
    """It may promote on the way, and it gives up on the way, which hardly ever happens here."""
    drawn = np.random.default_rng(5).random((1500, n)) < seen(CERTIFIED, n)
    paths = log_wealth(drawn.astype(float), CERTIFIED.threshold)
    assert CERTIFIED.alpha is not None
    needed = -math.log(CERTIFIED.alpha)
    assert np.mean(paths[:, -1] >= needed) == pytest.approx(0.8, abs=0.03)
    assert 0.79 < np.mean(paths.max(axis=1) >= needed) < 0.92
    hopeless = [cannot_win(list(map(float, row)), 0.5) for row in drawn[:100]]
    assert sum(hopeless) <= 1


def test_the_number_of_wins_says_what_the_test_says() -> None:
    for wins in (60, 64, 68, 72, 76, 80):
        outcomes = [0.0] * (100 - wins) + [1.0] * wins
        last = float(log_wealth(outcomes, 0.5)[-1])
        assert CERTIFIED.promotes(wins, 100) == (last >= -math.log(0.015))
    assert evidence([1.0] * 100, 0.5).promotes(0.015) and CERTIFIED.promotes(100, 100)


def test_too_few_prompts_see_nothing() -> None:
    assert detectable_win_rate(LOWER, 3) is None, "three of three are no proof"
    assert detectable_win_rate(CERTIFIED, 5) is None
    assert detectable_win_rate(PromotionRule(1.0), 100) is None


@pytest.mark.parametrize("rule", [LOWER, ESTIMATE, CERTIFIED])
def test_more_prompts_see_more(rule: PromotionRule) -> None:
    found = [seen(rule, n) for n in (16, 64, 256, 1024)]
    assert found == sorted(found, reverse=True)
    n = prompts_needed(rule, 0.6)
    assert n is not None and seen(rule, n) <= 0.6 < seen(rule, n // 2)
    assert prompts_needed(rule, 0.4, most=1000) is None
