"""Ratios of two sums over held-out prompts, such as nats per token, with standard errors."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Interval, finite_values, group_numbers


@dataclass(frozen=True)
class Ratio:
    """interval: the ratio with its interval. error: its standard error; NaN for a single group."""

    interval: Interval
    error: float


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> Ratio:
    """Σ numerators / Σ denominators, with an error that is robust to likeness within groups.

    The error is that of the linearised ratio r, √(n/(n − 1)·Σ_g (S_g − r·D_g)²) / Σ D, with the
    sums S_g and D_g of the n groups (Cochran 1977, "Sampling techniques", equation 2.46, over
    clusters). The interval is r ± t·error with Student's t for n − 1.

    Args:
        numerators, denominators: the parts of each value.
        groups: the prompt of each value; without groups every value is its own.
        confidence: of the interval, in (0, 1).

    Returns:
        Ratio; for a single group its ends and error are NaN.

    Raises:
        ValueError: no values; values that are not finite; denominators that sum to 0; sequences of
            unequal length; a confidence outside (0, 1).

    Example:
        >>> ratio([1.0, 3.0], [2.0, 2.0]).interval.estimate
        1.0
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
