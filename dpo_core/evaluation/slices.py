"""Win rates within slices of the prompts, corrected for the number of slices."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Floats, group_numbers
from dpo_core.evaluation.statistics import win_rate


@dataclass(frozen=True)
class Slice:
    """The win rate within one slice.

    prompts: number of distinct groups. p_value: two-sided, for "neither policy is better".
    p_adjusted: adjusted for the number of slices. flagged: the win rate is below ½ and p_adjusted
    below 1 − confidence.
    """

    prompts: int
    win_rate: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    flagged: bool


def slice_win_rates(
    rows: Iterable[tuple[str, float, Hashable]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Slice]:
    """The win rate within each slice; a prompt may be in several slices.

    Intervals are those of each slice alone. Of 20 slices of an unchanged policy one is expected
    outside its 95 % interval, so slices are flagged by p-values adjusted with Benjamini &
    Hochberg's step-up method ("Controlling the false discovery rate", 1995, equation 1; it also
    holds for positively dependent tests, such as slices that share prompts: Benjamini & Yekutieli
    2001). Among flagged slices, at most a share of 1 − confidence is expected to be chance.

    Each p-value is that of a sign-flip test: where neither policy is better, the sum over groups of
    Σ (outcome − ½) would be as likely with any group's sign flipped (Fisher 1935, "The design of
    experiments", section 21). It takes all patterns for few groups, `resamples` random ones for
    more.

    Args:
        rows: (slice, outcome, group) of each comparison.
        confidence, resamples, seed: as for `win_rate`.

    Returns:
        Slice name → Slice, by name.

    Raises:
        ValueError: as `win_rate` does.

    Example:
        >>> slice_win_rates([("en", 1.0, "p"), ("en", 0.0, "q")])["en"].win_rate
        0.5
    """
    from scipy.stats import false_discovery_control

    by_slice: dict[str, tuple[list[float], list[Hashable]]] = defaultdict(lambda: ([], []))
    for name, outcome, group in rows:
        outcomes, groups = by_slice[name]
        outcomes.append(outcome)
        groups.append(group)
    if not by_slice:
        return {}
    names = sorted(by_slice)
    p_values = [_sign_flip(*by_slice[name], resamples, seed) for name in names]
    adjusted = false_discovery_control(p_values, method="bh")
    slices = {}
    for name, p_value, p_adjusted in zip(names, p_values, adjusted, strict=True):
        outcomes, groups = by_slice[name]
        rate = win_rate(
            outcomes, groups=groups, confidence=confidence, resamples=resamples, seed=seed
        )
        slices[name] = Slice(
            len(set(groups)),
            rate.estimate,
            rate.low,
            rate.high,
            p_value,
            float(p_adjusted),
            bool(rate.estimate < 0.5 and p_adjusted < 1 - confidence),
        )
    return slices


def _sign_flip(outcomes: list[float], groups: list[Hashable], resamples: int, seed: int) -> float:
    """Two-sided p-value of the sum over groups of Σ (outcome − ½)."""
    from scipy.stats import permutation_test

    numbers = group_numbers(groups, len(outcomes))
    sums_n = np.bincount(numbers, weights=np.asarray(outcomes) - 0.5)
    if not sums_n.any():
        return 1.0

    def total(x: Floats, axis: int) -> Floats:
        return np.asarray(x.sum(axis))

    test = permutation_test(
        (sums_n,),
        total,
        permutation_type="samples",
        n_resamples=resamples,
        batch=max(1, (1 << 20) // len(sums_n)),
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)
