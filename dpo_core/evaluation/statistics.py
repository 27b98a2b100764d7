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
"""Win rates for which resampling is trusted; see `win_rate`."""


@dataclass(frozen=True)
class _Groups:
    """Sum and number of the values of each group, shape (n,)."""

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
    """Mean of `outcomes` with its interval; they lie in [0, 1]: 1 the first policy won, 0.5 a tie,
    0 it lost, between them probabilities.

    For win rates in 0.2 … 0.8 the interval is the bootstrap over groups, bias-corrected and
    accelerated (see dpo_core.evaluation.intervals). Outside, and when all groups have the same
    mean, resamples hardly differ (not at all when every comparison was won), so there it is
    Wilson's score interval for as many comparisons as say the same: see `_effective_n`. It has
    width for any outcomes.

    Source: Efron 1987, "Better bootstrap confidence intervals", with groups for observations;
    Wilson 1927, "Probable inference", the interval of the score test. Raises ValueError for no
    outcomes, outcomes outside [0, 1], groups of another length, and a confidence outside (0, 1).
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
    """Mean of `values` in their own unit, with its bootstrap interval over groups.

    Raises ValueError for no values, values that are not finite, groups of another length, and a
    confidence outside (0, 1).
    """
    grouped = _grouped(finite_values(values, confidence), groups)
    return _bootstrap(grouped, confidence, resamples, seed)


def standard_error(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean of `values`, in their unit, robust to likeness within groups.

    √(n/(n − 1)·Σ_g (S_g − m·C_g)²) / N, with the sums S_g and counts C_g of the groups, the mean m
    and N values in all (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
    inference", for a regression on a constant). NaN when there is one group. Raises ValueError as
    `mean_interval` does.
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
    alike = bool(np.ptp(counts_n) == 0)  # then every resample has as many values
    rows_at_once = max(1, _DRAWS_AT_ONCE // n)
    rng = np.random.default_rng(seed)
    means_R = np.empty(resamples)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        drawn = rng.integers(n, size=(rows, n), dtype=np.int32)
        counts = counts_n.sum() if alike else counts_n[drawn].sum(1)
        means_R[start : start + rows] = grouped.sums_n[drawn].sum(1) / counts
    ends = accelerated_ends(means_R, grouped.residuals_n, confidence)
    # Rounding may leave the mean of equal values outside resamples of them by an ulp.
    return interval_around(grouped.mean, *ends)


def _wilson(grouped: _Groups, confidence: float) -> Interval:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return interval_around(grouped.mean, *wilson_ends(grouped.mean, _effective_n(grouped), z))


def _effective_n(grouped: _Groups) -> float:
    """Wins and losses that would tell as much as these groups do.

    Groups of unequal size count as (Σ C_g)² / Σ C_g² of them (Kish 1965, "Survey sampling"). Ties,
    probabilities and several answers to a prompt vary less than the p·(1 − p) of wins and losses,
    by the design effect: that of the groups that differ from a sure win (below ½, a sure loss),
    and of one more that varies no less, for where none differs there is nothing to know it from.
    """
    p, sizes = grouped.mean, grouped.counts_n
    kish = float(sizes.sum() ** 2 / (sizes**2).sum())
    of_binary = p * (1 - p) * float((sizes**2).sum())
    if np.ptp(grouped.means_n) == 0 or of_binary == 0:
        return kish
    effect = float((grouped.residuals_n**2).sum()) / of_binary
    differing = int((grouped.means_n != (0.0 if p < 0.5 else 1.0)).sum())
    return kish * (differing + 1) / (differing * effect + 1)
