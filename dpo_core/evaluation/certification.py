"""Is a policy better than another, asked again and again over a campaign, with one bound on the
chance that any answer is wrong: a test that may stop at any time, and how the chance is divided.

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
"""Shares of the capital that are bet, shape (G,): each is best for one win rate, in a test of one
half from 0.515 to 0.85, and beyond these the last one does nearly as well."""

PLANNED_SHARE = 0.9
"""Of the chance of a false promotion: what the planned decisions may use. The rest is for those
beyond the plan."""


@dataclass(frozen=True)
class Evidence:
    """What outcomes say against "the mean is at most the threshold".

    log_e: natural logarithm of the largest e-value that was reached; units: how many outcomes
    there were; reached_at: after how many of them log_e was reached (0: it never rose above 0).
    """

    log_e: float
    units: int
    reached_at: int

    def promotes(self, alpha: float) -> bool:
        """Whether e ≥ 1/α."""
        return self.log_e >= -math.log(alpha)


def bets_against(threshold: float) -> Floats:
    """(G,) bets λ_b on outcomes above the threshold m: any λ ≤ 1/m is fair; 0 would allow any."""
    return np.asarray(BETS / max(threshold, 0.05))


def log_wealth(outcomes: Sequence[float] | Floats, threshold: float) -> Floats:
    """log of the mean over bets b of Π_i (1 + λ_b·(Y_i − m)), λ_b = b/m, after each outcome,
    shape (…, n) as that of `outcomes`; m: the threshold.

    Where E[Y_i | Y_1 … Y_{i−1}] ≤ m each factor has a mean of at most 1, so that the mean of
    exp(log_wealth) is at most 1 after any number of outcomes, and it exceeds 1/α at any time with
    a probability of at most α (Ville 1939).

    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting",
    arXiv 2010.09686, the capital process of section 4 for λ ≥ 0, mixed over a fixed grid of λ.
    """
    values = np.asarray(outcomes, dtype=np.float64)
    lambdas_G = bets_against(threshold)
    paths = [np.log1p(bet * (values - threshold)).cumsum(axis=-1) for bet in lambdas_G]
    highest = np.maximum.reduce(paths)
    total = sum((np.exp(path - highest) for path in paths), np.zeros_like(highest))
    return np.asarray(highest + np.log(total / len(BETS)))


def evidence(outcomes: Sequence[float], threshold: float) -> Evidence:
    """The largest e-value on the way through `outcomes`, in an order that knows nothing of them.

    Raises ValueError for outcomes outside [0, 1].
    """
    if not len(outcomes):
        return Evidence(0.0, 0, 0)
    path = log_wealth(outcome_values(outcomes), threshold)
    best = int(path.argmax())
    if path[best] <= 0:
        return Evidence(0.0, len(path), 0)
    return Evidence(float(path[best]), len(path), best + 1)


def evidence_on_set(outcomes: Sequence[float], threshold: float) -> Evidence:
    """The e-value against "the mean of E[Y_i] over these prompts is at most the threshold", where
    prompts are given and answers sampled afresh: independent, each with a mean μ_i of its own.

    Only the value after all of them counts, in whatever order: Π E[1 + λ·(Y_i − m)] =
    Π (1 + λ·(μ_i − m)) ≤ (1 + λ·(mean of μ_i − m))ⁿ ≤ 1, since a geometric mean is at most the
    arithmetic one. On the way it need not be, so that it must not be stopped early.
    """
    if not len(outcomes):
        return Evidence(0.0, 0, 0)
    last = float(log_wealth(outcome_values(outcomes), threshold)[-1])
    return Evidence(max(last, 0.0), len(outcomes), len(outcomes) if last > 0 else 0)


def cannot_win(outcomes: Sequence[float], threshold: float, alpha: float = 0.05) -> bool:
    """Whether the same test the other way round, of "the mean is at least the threshold", has said
    no at level `alpha`: more outcomes are then not worth asking for. It only ever refuses."""
    lost = [1 - value for value in outcomes]
    return evidence(lost, 1 - threshold).promotes(alpha)


def allowance(number: int, planned: int, false_promotions: float) -> float:
    """α_k of decision `number` (from 1), of which `planned` were declared before the first one.

    Nine tenths are divided evenly over the plan; decision j beyond it has 0.1·α/(j·(j + 1)). Their
    sum over any number of decisions is at most `false_promotions`, since Σ 1/(j(j + 1)) = 1.
    """
    if number <= planned:
        return PLANNED_SHARE * false_promotions / planned
    beyond = number - planned
    return (1 - PLANNED_SHARE) * false_promotions / (beyond * (beyond + 1))


def unit_outcomes(
    outcomes: Iterable[tuple[Hashable, float | None]],
    sizes: Iterable[tuple[Hashable, int]],
) -> list[float]:
    """The outcome of each unit, in the order of `sizes`: the mean over its comparisons.

    outcomes: (unit, outcome of one comparison), None for one that could not be decided, which
    counts as lost. sizes: each unit with how many comparisons it has in all; one that has not all
    of them yet is left out, since a part of a group is not the unit.
    """
    found: dict[Hashable, list[float]] = defaultdict(list)
    for unit, outcome in outcomes:
        found[unit].append(outcome if outcome is not None else 0.0)
    return [float(np.mean(found[unit])) for unit, size in sizes if len(found[unit]) >= size > 0]
