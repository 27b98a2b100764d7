"""Means and win rates over held-out prompts, with intervals that resample prompts.

Answers to one prompt are alike, so prompts, not answers, are the independent units: values carry
the prompt they belong to as their *group*, and a bootstrap resample draws whole groups.
n groups, R resamples.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dpo_core.evaluation.intervals import (
    Floats,
    Interval,
    accelerated_ends,
    finite_values,
    group_numbers,
    interval_around,
    outcome_values,
    wilson_ends,
)

_DRAWS_AT_ONCE = 1 << 22
"""Group indices drawn at a time: 16 MiB, whatever the number of groups and resamples."""

BOOTSTRAP_RANGE = (0.2, 0.8)
"""Win rates for which `win_rate` resamples."""


@dataclass(frozen=True)
class _Groups:
    """Sum and count of the values of each group, shape (n,)."""

    sums_n: Floats
    counts_n: Floats

    @property
    def mean(self) -> float:
        return float(self.sums_n.sum() / self.counts_n.sum())

    @property
    def means_n(self) -> Floats:
        return self.sums_n / self.counts_n

    @property
    def residuals_n(self) -> Floats:
        return self.sums_n - self.mean * self.counts_n


def win_rate(
    outcomes: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Win rate of a policy: the mean of its outcomes, with a confidence interval.

    For win rates in 0.2 … 0.8 the interval is the bootstrap over groups, bias-corrected and
    accelerated (see dpo_core.evaluation.intervals). Outside, and when all groups have the same
    mean, resamples hardly differ. There it is Wilson's score interval for an effective number of
    comparisons (see `_effective_n`), which has width for any outcomes.

    Efron 1987, "Better bootstrap confidence intervals", with groups for observations; Wilson 1927,
    "Probable inference", the interval of the score test.

    Args:
        outcomes: in [0, 1]: 1 the first policy won, 0.5 a tie, 0 it lost; probabilities allowed.
        groups: the prompt of each outcome; without groups every outcome is its own.
        confidence: of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        Interval of the win rate.

    Raises:
        ValueError: no outcomes; outcomes outside [0, 1] or not finite; groups of another number
            than outcomes; a confidence outside (0, 1).

    Example:
        >>> win_rate([1, 1, 0.5, 0], groups=["p", "p", "q", "q"]).estimate
        0.625
    """
    grouped = _grouped(outcome_values(outcomes, confidence), groups)
    low, high = BOOTSTRAP_RANGE
    if low <= grouped.mean <= high and np.ptp(grouped.means_n) > 0:
        return _bootstrap(grouped, confidence, resamples, seed)
    return _wilson(grouped, confidence)


def mean_interval(
    values: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of values in their own unit, with its bootstrap interval over groups.

    Args:
        values: any finite numbers.
        groups, confidence, resamples, seed: as for `win_rate`.

    Returns:
        Interval of the mean.

    Raises:
        ValueError: no values; values that are not finite; groups of another number than values; a
            confidence outside (0, 1).

    Example:
        >>> mean_interval([2.0, 4.0]).estimate
        3.0
    """
    grouped = _grouped(finite_values(values, confidence), groups)
    return _bootstrap(grouped, confidence, resamples, seed)


def standard_error(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean of values, in their unit, robust to likeness within groups.

    √(n/(n − 1)·Σ_g (S_g − m·C_g)²) / N, with the sums S_g and counts C_g of the groups, the mean m
    and N values in all (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
    inference", for a regression on a constant).

    Args:
        values: any finite numbers.
        groups: the prompt of each value; without groups every value is its own.

    Returns:
        The standard error; NaN for a single group.

    Raises:
        ValueError: as `mean_interval` does.

    Example:
        >>> standard_error([2.0, 4.0])
        1.0
    """
    grouped = _grouped(finite_values(values), groups)
    n = len(grouped.counts_n)
    if n == 1:
        return math.nan
    return float(np.sqrt(n / (n - 1) * (grouped.residuals_n**2).sum()) / grouped.counts_n.sum())


def _grouped(values: Floats, groups: Sequence[Hashable] | None) -> _Groups:
    if groups is None:
        return _Groups(values, np.ones_like(values))
    index = group_numbers(groups, len(values))
    sums_n, counts_n = np.bincount(index, weights=values), np.bincount(index)
    return _Groups(sums_n.astype(np.float64), counts_n.astype(np.float64))


def _bootstrap(grouped: _Groups, confidence: float, resamples: int, seed: int) -> Interval:
    n, counts_n = len(grouped.counts_n), grouped.counts_n
    equal_counts = bool(np.ptp(counts_n) == 0)  # then every resample has as many values
    rows_at_once = max(1, _DRAWS_AT_ONCE // n)
    rng = np.random.default_rng(seed)
    means_R = np.empty(resamples)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        drawn = rng.integers(n, size=(rows, n), dtype=np.int32)
        counts = counts_n.sum() if equal_counts else counts_n[drawn].sum(1)
        means_R[start : start + rows] = grouped.sums_n[drawn].sum(1) / counts
    ends = accelerated_ends(means_R, grouped.residuals_n, confidence)
    # Rounding may leave the mean of equal values outside resamples of them by an ulp.
    return interval_around(grouped.mean, *ends)


def _wilson(grouped: _Groups, confidence: float) -> Interval:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return interval_around(grouped.mean, *wilson_ends(grouped.mean, _effective_n(grouped), z))


def _effective_n(grouped: _Groups) -> float:
    """Number of independent wins and losses that would give as much information as these groups.

    Groups of unequal size count as (Σ C_g)² / Σ C_g² of them (Kish 1965, "Survey sampling"). Ties,
    probabilities and several answers to a prompt vary less than the p·(1 − p) of wins and losses,
    by the design effect. That is estimated from the groups that differ from a sure win (below ½, a
    sure loss), plus one group that varies fully, because without differing groups nothing is known.
    """
    p, sizes = grouped.mean, grouped.counts_n
    kish = float(sizes.sum() ** 2 / (sizes**2).sum())
    of_binary = p * (1 - p) * float((sizes**2).sum())
    if np.ptp(grouped.means_n) == 0 or of_binary == 0:
        return kish
    effect = float((grouped.residuals_n**2).sum()) / of_binary
    differing = int((grouped.means_n != (0.0 if p < 0.5 else 1.0)).sum())
    return kish * (differing + 1) / (differing * effect + 1)
