"""Certified promotion: repeated tests over a campaign with one bound on any false promotion.

A test may stop at any time; `allowance` divides the error probability among the decisions.

The unit is a prompt, or a group of prompts; its outcome Y in [0, 1] is 1 where the policy won, 0
where it lost. n units, G bets. docs/gate.md has the argument for the bound.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Floats, outcome_values

BETS = np.geomspace(0.03, 0.7, 16)
"""Shares of the capital that are bet, shape (G,). Each is best for one win rate: from 0.515 to 0.85
against a threshold of one half. Above 0.85 the last one does nearly as well."""

PLANNED_SHARE = 0.9
"""Share of the error probability for the planned decisions; later decisions use the rest."""


@dataclass(frozen=True)
class Evidence:
    """Evidence against the hypothesis that the mean outcome is at most the threshold.

    log_e: natural logarithm of the largest e-value. units: number of outcomes. reached_at: number
    of outcomes after which log_e was reached; 0 means it never rose above 0.
    """

    log_e: float
    units: int
    reached_at: int

    def promotes(self, alpha: float) -> bool:
        """Whether the e-value is at least 1/α."""
        return self.log_e >= -math.log(alpha)


def bets_against(threshold: float) -> Floats:
    """(G,) bets λ_b on outcomes above the threshold m. Any λ ≤ 1/m is fair."""
    return np.asarray(BETS / max(threshold, 0.05))


def log_wealth(outcomes: Sequence[float] | Floats, threshold: float) -> Floats:
    """Log-wealth after each outcome: log of the mean over bets b of Π_i (1 + λ_b·(Y_i − m)).

    λ_b = b/m, with m the threshold. Where E[Y_i | Y_1 … Y_{i−1}] ≤ m, each factor has a mean of at
    most 1. Then exp(log_wealth) has a mean of at most 1 after any number of outcomes, and ever
    exceeds 1/α with probability at most α (Ville 1939).

    Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting",
    arXiv 2010.09686: the capital process of section 4 for λ ≥ 0, mixed over a fixed grid of λ.

    Args:
        outcomes: (…, n) outcomes in [0, 1], in their order.
        threshold: m, the mean under the null hypothesis.

    Returns:
        (…, n) natural logarithms of the wealth.

    Example:
        >>> log_wealth([1.0, 1.0, 1.0], 0.5).round(2)
        array([0.2 , 0.43, 0.68])
    """
    values = np.asarray(outcomes, dtype=np.float64)
    lambdas_G = bets_against(threshold)
    paths = [np.log1p(bet * (values - threshold)).cumsum(axis=-1) for bet in lambdas_G]
    highest = np.maximum.reduce(paths)
    total = sum((np.exp(path - highest) for path in paths), np.zeros_like(highest))
    return np.asarray(highest + np.log(total / len(BETS)))


def evidence(outcomes: Sequence[float], threshold: float) -> Evidence:
    """The largest e-value along `outcomes`: a test that may stop at any time.

    Args:
        outcomes: values in [0, 1], in an order that does not depend on them.
        threshold: the mean under the null hypothesis.

    Returns:
        Evidence; log_e is 0 without outcomes, or where the wealth never rose above 1.

    Raises:
        ValueError: an outcome lies outside [0, 1].

    Example:
        >>> evidence([1.0] * 20, threshold=0.5).promotes(alpha=0.05)
        True
    """
    if not len(outcomes):
        return Evidence(0.0, 0, 0)
    path = log_wealth(outcome_values(outcomes), threshold)
    best = int(path.argmax())
    if path[best] <= 0:
        return Evidence(0.0, len(path), 0)
    return Evidence(float(path[best]), len(path), best + 1)


def evidence_on_set(outcomes: Sequence[float], threshold: float) -> Evidence:
    """The e-value against "the mean of E[Y_i] over these prompts is at most the threshold".

    Prompts are fixed and answers are sampled afresh: outcomes are independent, each with its own
    mean μ_i. Only the value after all outcomes counts, in any order: Π E[1 + λ·(Y_i − m)] =
    Π (1 + λ·(μ_i − m)) ≤ (1 + λ·(mean of μ_i − m))ⁿ ≤ 1, because a geometric mean is at most the
    arithmetic one. The bound does not hold before that, so this test must not be stopped early.

    Args, Returns, Raises: as for `evidence`.
    """
    if not len(outcomes):
        return Evidence(0.0, 0, 0)
    last = float(log_wealth(outcome_values(outcomes), threshold)[-1])
    return Evidence(max(last, 0.0), len(outcomes), len(outcomes) if last > 0 else 0)


def cannot_win(outcomes: Sequence[float], threshold: float, alpha: float = 0.05) -> bool:
    """Whether the reverse test rejects "the mean is at least the threshold" at level `alpha`.

    More outcomes are then not worth their cost. It can only stop a test early, never promote.
    """
    lost = [1 - value for value in outcomes]
    return evidence(lost, 1 - threshold).promotes(alpha)


def allowance(number: int, planned: int, false_promotions: float) -> float:
    """Error probability α_k of one decision.

    Nine tenths are divided evenly among the planned decisions; decision j beyond the plan has
    0.1·α/(j·(j + 1)). The sum over any number of decisions is at most α, as Σ 1/(j(j + 1)) = 1.

    Args:
        number: the decision, from 1.
        planned: number of decisions declared before the first one.
        false_promotions: α, the probability of any false promotion.

    Returns:
        α_k.

    Example:
        >>> [round(allowance(number, planned=2, false_promotions=0.1), 4) for number in (1, 2, 3)]
        [0.045, 0.045, 0.005]
    """
    if number <= planned:
        return PLANNED_SHARE * false_promotions / planned
    beyond = number - planned
    return (1 - PLANNED_SHARE) * false_promotions / (beyond * (beyond + 1))


def unit_outcomes(
    outcomes: Iterable[tuple[Hashable, float | None]],
    sizes: Iterable[tuple[Hashable, int]],
) -> list[float]:
    """The outcome of each complete unit: the mean over its comparisons.

    Args:
        outcomes: (unit, outcome) of each comparison; None, undecided, counts as lost.
        sizes: (unit, number of its comparisons). A unit with fewer outcomes than that is left out.

    Returns:
        Outcomes in the order of `sizes`.

    Example:
        >>> unit_outcomes([("p", 1.0), ("p", None), ("q", 1.0)], [("p", 2), ("q", 2)])
        [0.5]
    """
    by_unit: dict[Hashable, list[float]] = defaultdict(list)
    for unit, outcome in outcomes:
        by_unit[unit].append(outcome if outcome is not None else 0.0)
    return [float(np.mean(by_unit[unit])) for unit, size in sizes if len(by_unit[unit]) >= size > 0]
