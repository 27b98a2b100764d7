"""A ratio of two sums over held-out prompts, such as nats per token, with its standard error."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Interval, finite_values, group_numbers


@dataclass(frozen=True)
class Ratio:
    """interval: of the estimate; error: its standard error, NaN for one group."""

    interval: Interval
    error: float


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Ratio:
    """Σ numerators / Σ denominators; values of one group (prompt) may be alike.

    The error is that of the linearised ratio r, √(n/(n − 1)·Σ_g (S_g − r·D_g)²) / Σ D with the sums
    S_g and D_g of the n groups (Cochran 1977, "Sampling techniques", equation 2.46, over clusters);
    the interval is r ± t·error with Student's t for n − 1.

    Raises ValueError for no values, values that are not finite, denominators that sum to 0, and
    for sequences of unequal length.
    """
    from scipy.special import stdtrit

    top, below = finite_values(numerators, confidence), finite_values(denominators)
    if len(top) != len(below) or below.sum() == 0:
        raise ValueError("expected as many denominators as numerators, with a sum other than 0")
    number = group_numbers(groups, len(top))
    sums_n, below_n = np.bincount(number, weights=top), np.bincount(number, weights=below)
    n, estimate = len(sums_n), float(top.sum() / below.sum())
    if n == 1:
        return Ratio(Interval(estimate, math.nan, math.nan), math.nan)
    squares = ((sums_n - estimate * below_n) ** 2).sum()
    error = float(np.sqrt(n / (n - 1) * squares) / abs(below.sum()))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Ratio(Interval(estimate, estimate - half, estimate + half), error)
