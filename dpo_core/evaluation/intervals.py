"""An estimate with its interval, and the parts that every resampling of this package shares.

Values carry the prompt they belong to as their *group*: answers to one prompt are alike, so whole
groups are resampled. N values, n groups, R resamples.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval; NaN where they are unknown."""

    estimate: float
    low: float
    high: float


def as_json(value: object) -> object:
    """Dataclasses, mappings and sequences as JSON; None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if is_dataclass(value):
        return fields_as_json(value)
    return finite(value) if isinstance(value, float) else value


def fields_as_json(instance: object) -> dict[str, object]:
    """The fields of a dataclass, as `as_json` gives them."""
    return {name: as_json(value) for name, value in vars(instance).items()}


def finite(value: float) -> float | None:
    """None for a value that is NaN or infinite."""
    return value if math.isfinite(value) else None


def columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    """{name, name_low, name_high} of an interval; None for unknown values."""
    ends = interval or UNKNOWN
    values = {name: ends.estimate, f"{name}_low": ends.low, f"{name}_high": ends.high}
    return {key: finite(value) for key, value in values.items()}


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def finite_values(values: Sequence[float], confidence: float = 0.95) -> Floats:
    """`values` as an array, shape (N,).

    Raises ValueError without values, and for values that are not finite or a confidence outside
    (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"expected at least one value in one dimension, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return array


def outcome_values(outcomes: Sequence[float], confidence: float = 0.95) -> Floats:
    """`finite_values`, which also raises ValueError for outcomes outside [0, 1]."""
    values = finite_values(outcomes, confidence)
    if values.min() < 0 or values.max() > 1:
        raise ValueError("outcomes must lie in [0, 1]: 1 a win of the first policy, 0.5 a tie")
    return values


def group_numbers(groups: Sequence[Hashable] | None, length: int) -> Integers:
    """The group of each value as a number from 0, shape (N,); without groups, each has its own.

    Groups are numbered by sorted name, so a resample does not depend on the order of the rows.
    Raises ValueError unless there are as many groups as values.
    """
    if groups is None:
        return np.arange(length)
    if len(groups) != length:
        raise ValueError(f"{length} values, but {len(groups)} groups")
    number = {group: index for index, group in enumerate(sorted(set(groups), key=str))}
    return np.fromiter((number[group] for group in groups), dtype=np.int64, count=length)


def smooth_weights(
    rng: np.random.Generator, n: int, resamples: int, at_once: int
) -> Iterator[Floats]:
    """Yield weights of the groups in each resample, shape (≤ at_once, n), `resamples` in all.

    Weights are independent Exponential(1) draws: up to their sum, the flat Dirichlet weights of the
    Bayesian bootstrap (Rubin 1981, "The Bayesian bootstrap"). Unlike counts of drawn groups they
    are never 0, so no resample loses a pair of policies or all spread of the lengths.
    """
    for start in range(0, resamples, at_once):
        yield rng.standard_exponential((min(at_once, resamples - start), n))


def percentile_ends(resampled: Floats, n: int, confidence: float) -> Floats:
    """Low and high ends from statistics of resamples of n groups, shape (R, …) → (2, …).

    Resamples of few groups vary too little: by √((n − 1)/n), and because the normal's tails replace
    Student's. The percentiles are moved out by both, to Φ(−√(n/(n − 1))·t) and its mirror image
    (Hesterberg 2015, "What teachers should know about the bootstrap", the expanded interval).
    """
    from scipy.special import ndtr

    z = expanded_z(n, confidence)
    return _quantiles(resampled, ndtr([-z, z]))


def accelerated_ends(means_R: Floats, residuals_n: Floats, confidence: float) -> Floats:
    """Ends for a mean, shape (2,): `percentile_ends` shifted towards the longer tail (BCa).

    The percentiles are Φ(a + (a ± z)/(1 − a·(a ± z))) with a = Σ r³ / (6·(Σ r²)^1.5), a sixth of
    the skewness of the sum of the groups' residuals r: Efron 1987, "Better bootstrap confidence
    intervals". For a mean the bias correction z₀ equals a, so resamples are not needed for it.
    """
    from scipy.special import ndtr

    squares = float((residuals_n**2).sum())
    a = float((residuals_n**3).sum()) / (6 * squares**1.5) if squares else 0.0
    z = a + expanded_z(len(residuals_n), confidence) * np.array([-1.0, 1.0])
    return _mid_quantiles(means_R, ndtr(a + z / np.maximum(1 - a * z, 0.1)))


def _mid_quantiles(means_R: Floats, shares: Floats) -> Floats:
    """Quantiles at (R + 1)·share of the mid-ranks: equal resamples share the mean of their ranks.

    Means of wins and losses lie on a lattice. A plain quantile is a whole lattice point, which at
    200 prompts costs up to a point of coverage; between mid-ranks it is interpolated. Without ties
    it is Weibull's quantile.
    """
    values, counts = np.unique(means_R, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.interp(shares * (len(means_R) + 1), mid_ranks, values)


def _quantiles(resampled: Floats, shares: Floats) -> Floats:
    """Weibull's quantiles, at (R + 1)·share: few resamples then do not narrow the interval."""
    quantiles: Floats = np.quantile(resampled, shares, axis=0, method="weibull")
    return quantiles


def expanded_z(n: int, confidence: float) -> float:
    """Distance of an end from the estimate, in standard errors; see `percentile_ends`."""
    from scipy.special import ndtri, stdtrit

    tail = (1 + confidence) / 2
    if n == 1:
        return float(ndtri(tail))
    return math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, tail))


def wilson_ends(share: float, n: float, z: float) -> tuple[float, float]:
    """(low, high) of Wilson's score interval for a share of n, z standard errors wide.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    variance = max(0.0, share * (1 - share))  # a mean of ones may be an ulp above 1
    half = z / (1 + z * z / n) * math.sqrt(variance / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_around(estimate: float, low: float, high: float) -> Interval:
    """The interval, widened to contain its own estimate where needed."""
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))
