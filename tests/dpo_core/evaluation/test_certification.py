"""The test that may stop at any time holds its level exactly, and the chance is divided soundly."""

from itertools import product
from math import exp, log, prod

import numpy as np
import pytest

from dpo_core.evaluation.certification import (
    BETS,
    allowance,
    cannot_win,
    evidence,
    evidence_on_set,
    log_wealth,
    unit_outcomes,
)
from dpo_core.evaluation.intervals import Floats

VALUES = (0.0, 0.5, 1.0)


def _sequences(chances: tuple[float, float, float], length: int) -> tuple[Floats, Floats]:
    """Every sequence of losses, ties and wins, one a row, and the probability of each."""
    picked = np.array(list(product(range(3), repeat=length)))
    return np.array(VALUES)[picked], np.array(chances)[picked].prod(axis=1)


def test_a_win_raises_the_capital_by_what_was_bet_and_a_loss_lowers_it_by_as_much() -> None:
    # λ = 2b at one half: a win is worth 1 + 2b·½ = 1 + b, a loss 1 − b, both the mean over bets.
    assert np.exp(log_wealth([1.0], 0.5)) == pytest.approx(1 + BETS.mean())
    assert np.exp(log_wealth([0.0], 0.5)) == pytest.approx(1 - BETS.mean())
    assert np.exp(log_wealth([1.0, 1.0], 0.5)[1]) == pytest.approx(((1 + BETS) ** 2).mean())


def test_a_tie_says_nothing_against_one_half() -> None:
    assert log_wealth([0.5, 0.5], 0.5) == pytest.approx([0, 0])
    assert evidence([1, 0.5, 1], 0.5).log_e == pytest.approx(evidence([1, 1], 0.5).log_e)


@pytest.mark.parametrize("threshold", [0.0, 0.03, 0.3, 0.5, 0.7, 1.0])
def test_at_the_threshold_the_capital_neither_grows_nor_shrinks_on_average(
    threshold: float,
) -> None:
    ties = min(threshold, 1 - threshold)
    chances = (1 - threshold - ties / 2, ties, threshold - ties / 2)
    sequences, probabilities = _sequences(chances, 6)
    capital = np.exp(log_wealth(sequences, threshold)[:, -1])
    assert (probabilities * capital).sum() == pytest.approx(1)


@pytest.mark.parametrize("chances", [(0.5, 0, 0.5), (0.25, 0.5, 0.25), (0.6, 0, 0.4)])
@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.1])
def test_that_it_ever_promotes_what_is_not_better_has_the_chance_it_claims_at_most(
    chances: tuple[float, float, float], alpha: float
) -> None:
    sequences, probabilities = _sequences(chances, 9)
    promoted = (log_wealth(sequences, 0.5) >= -log(alpha)).any(axis=1)
    assert 0 < probabilities[promoted].sum() <= alpha


def test_the_largest_value_on_the_way_counts() -> None:
    won = evidence([1] * 9, 0.5)
    assert evidence([1] * 9 + [0] * 50, 0.5).log_e == won.log_e
    assert (won.units, won.reached_at) == (9, 9)
    assert evidence([0, 0], 0.5).log_e == 0
    assert evidence([], 0.5).units == 0


def test_a_policy_that_always_wins_is_promoted_after_a_dozen_prompts() -> None:
    # At b = 0.7 capital grows by 1.7 a prompt, from a sixteenth: 1.7¹³/16 = 62, and others add.
    assert evidence([1] * 13, 0.5).promotes(1 / 62)


def test_a_loser_is_seen_to_be_one_and_a_tie_is_not() -> None:
    assert cannot_win([0] * 20, 0.5)
    assert not cannot_win([0, 1] * 200, 0.5)
    assert not cannot_win([], 0.5)


@pytest.mark.parametrize("means", [(1.0, 0.0), (0.9, 0.1, 0.5), (0.2, 0.3, 0.8, 0.7)])
def test_on_a_given_set_the_value_after_all_prompts_is_fair_and_those_before_are_not(
    means: tuple[float, ...],
) -> None:
    def chance(found: tuple[int, ...]) -> float:
        return prod(m if won else 1 - m for m, won in zip(means, found, strict=True))

    every = list(product((0, 1), repeat=len(means)))
    after_all = sum(chance(f) * exp(log_wealth(f, 0.5)[-1]) for f in every)
    after_one = sum(chance(f) * exp(log_wealth(f, 0.5)[0]) for f in every)
    assert after_all <= 1
    assert (after_one > 1) == (means[0] > 0.5)
    assert evidence_on_set([1, 1, 0], 0.5).log_e == pytest.approx(log_wealth([1, 1, 0], 0.5)[-1])


def test_the_allowances_of_any_number_of_decisions_stay_within_the_chance() -> None:
    planned = [allowance(k, 12, 0.05) for k in range(1, 13)]
    assert planned == pytest.approx([0.9 * 0.05 / 12] * 12)
    # Σ 1/(j(j + 1)) to J is 1 − 1/(J + 1).
    beyond = sum(allowance(12 + j, 12, 0.05) for j in range(1, 1000))
    assert beyond == pytest.approx(0.1 * 0.05 * (1 - 1 / 1000))
    assert sum(planned) + beyond < 0.05


def test_a_unit_is_the_mean_of_its_prompts_and_what_is_undecided_counts_as_lost() -> None:
    told = [("g", 1.0), ("p", None), ("g", 0.5), ("cut", 1.0)]
    sizes = [("p", 1), ("g", 2), ("cut", 2)]
    assert unit_outcomes(told, sizes) == [0.0, 0.75]


def test_no_outcome_lies_outside_its_range() -> None:
    with pytest.raises(ValueError, match="0, 1"):
        evidence([1.2], 0.5)
    assert evidence([1] * 2000, 0.5).log_e > log(1e100)
