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
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DRAWS_AT_ONCE = 1 << 22
"""Group indices drawn at a time: 16 MiB, whatever the number of groups and resamples."""

_BOOTSTRAP_RANGE = (0.2, 0.8)
"""Win rates for which resampling is trusted; see `win_rate`."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class _Groups:
    """Sum and number of the values of each group, shape (n,)."""

    sums_n: Floats
    counts_n: Floats

    @property
    def mean(self) -> float:
        return float(self.sums_n.sum() / self.counts_n.sum())

    @property
    def all_alike(self) -> bool:
        return bool(np.ptp(self.sums_n / self.counts_n) == 0)


def win_rate(
    outcomes: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of `outcomes` (1 the first policy won, 0.5 tie, 0 it lost) with its interval.

    For win rates in 0.2 … 0.8 the interval is the percentile bootstrap over groups. Outside, and
    when all groups have the same mean, resamples hardly differ (not at all when every comparison
    was won), so there it is Wilson's score interval with n = number of groups: outcomes in [0, 1]
    with mean p vary by at most p·(1 − p), so this errs on the wide side where there are ties.

    Source: Efron 1979, "Bootstrap methods", percentile interval over clusters; Wilson 1927,
    "Probable inference", the interval of the score test. Raises ValueError for no outcomes,
    outcomes outside [0, 1], groups of another length, and a confidence outside (0, 1).
    """
    values = _checked(outcomes, confidence)
    if values.min() < 0 or values.max() > 1:
        raise ValueError("outcomes must lie in [0, 1]: 1 a win of the first policy, 0.5 a tie")
    grouped = _grouped(values, groups)
    low, high = _BOOTSTRAP_RANGE
    if low <= grouped.mean <= high and not grouped.all_alike:
        return _bootstrap(grouped, confidence, resamples, seed)
    return _wilson(grouped.mean, len(grouped.counts_n), confidence)


def mean_interval(
    values: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of `values` in their own unit, with its percentile bootstrap interval over groups.

    Raises ValueError for no values, values that are not finite, groups of another length, and a
    confidence outside (0, 1).
    """
    grouped = _grouped(_checked(values, confidence), groups)
    return _bootstrap(grouped, confidence, resamples, seed)


def standard_error(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean of `values`, in their unit, robust to likeness within groups.

    √(n/(n − 1)·Σ_g (S_g − m·C_g)²) / N, with the sums S_g and counts C_g of the groups, the mean m
    and N values in all (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
    inference", for a regression on a constant). NaN when there is one group. Raises ValueError as
    `mean_interval` does.
    """
    grouped = _grouped(_checked(values), groups)
    n = len(grouped.counts_n)
    if n == 1:
        return math.nan
    residuals_n = grouped.sums_n - grouped.mean * grouped.counts_n
    return float(np.sqrt(n / (n - 1) * (residuals_n**2).sum()) / grouped.counts_n.sum())


def _checked(values: Sequence[float], confidence: float = 0.95) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"expected at least one value in one dimension, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return array


def _grouped(values: Floats, groups: Sequence[Hashable] | None) -> _Groups:
    if groups is None:
        return _Groups(values, np.ones_like(values))
    if len(groups) != len(values):
        raise ValueError(f"{len(values)} values, but {len(groups)} groups")
    # Sorted, so that the resamples, and the interval, do not depend on the order of the rows.
    number = {group: index for index, group in enumerate(sorted(set(groups), key=str))}
    index = np.fromiter((number[group] for group in groups), dtype=np.int64, count=len(groups))
    sums_n, counts_n = np.bincount(index, weights=values), np.bincount(index)
    return _Groups(sums_n.astype(np.float64), counts_n.astype(np.float64))


def _bootstrap(grouped: _Groups, confidence: float, resamples: int, seed: int) -> Interval:
    n = len(grouped.counts_n)
    rows_at_once = max(1, _DRAWS_AT_ONCE // n)
    rng = np.random.default_rng(seed)
    means_R = np.empty(resamples)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        drawn = rng.integers(n, size=(rows, n), dtype=np.int32)
        sums, counts = grouped.sums_n[drawn].sum(1), grouped.counts_n[drawn].sum(1)
        means_R[start : start + rows] = sums / counts
    low, high = np.quantile(means_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    # Rounding may leave the mean of equal values outside resamples of them by an ulp.
    mean = grouped.mean
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def _wilson(p: float, n: int, confidence: float) -> Interval:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))
