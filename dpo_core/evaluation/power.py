"""Power of a gate: the win rate at which a policy is promoted in four rounds of five.

It depends on the promotion rule and the number of prompts. Comparisons are assumed won or lost,
and independent between prompts. Ties vary less, so with ties a gate has slightly more power.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dpo_core.evaluation.certification import bets_against
from dpo_core.evaluation.intervals import expanded_z, wilson_ends
from dpo_core.evaluation.statistics import BOOTSTRAP_RANGE

POWER = 0.8


@dataclass(frozen=True)
class PromotionRule:
    """When a win rate promotes: the estimate must exceed `threshold`.

    With `confidence` the lower end of its interval must. With `alpha` a certification test at that
    level must reject "the mean is at most the threshold".
    """

    threshold: float
    confidence: float | None = None
    alpha: float | None = None

    def promotes(self, wins: int, n: int) -> bool:
        """Whether `wins` of n comparisons promote."""
        if self.alpha is not None:
            return _log_e(wins, n, self.threshold) >= -math.log(self.alpha)
        if self.confidence is None:
            return wins / n > self.threshold
        return _low(wins / n, n, self.confidence) > self.threshold


def detectable_win_rate(rule: PromotionRule, n: int, power: float = POWER) -> float | None:
    """The lowest true win rate at which a policy is promoted with probability `power`.

    The number of wins is binomial. A certified gate may stop at any time up to n, so its power is
    slightly above what its test after all n comparisons gives, which is computed here.

    Args:
        rule: when the gate promotes.
        n: comparisons, each of another prompt.
        power: probability of promotion.

    Returns:
        A win rate in [0, 1]; None where not even n wins of n promote.

    Example:
        >>> round(detectable_win_rate(PromotionRule(0.5, confidence=0.95), n=200), 3)
        0.602
    """
    from scipy.special import bdtrc

    needed = _first(lambda wins: rule.promotes(wins, n), n)
    if needed is None:
        return None
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = needed == 0 or float(bdtrc(needed - 1, n, middle)) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def prompts_needed(rule: PromotionRule, win_rate: float, most: int = 1 << 20) -> int | None:
    """Fewest prompts at which this win rate is detectable; None where `most` are not enough."""

    def is_detectable(n: int) -> bool:
        detectable = detectable_win_rate(rule, n) if n else None
        return detectable is not None and detectable <= win_rate

    return _first(is_detectable, most)


def _first(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest number up to `most` from which on `holds` is true; None where there is none."""
    if not holds(most):
        return None
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _low(share: float, n: int, confidence: float) -> float:
    """Lower end of `statistics.win_rate`. Where that resamples, this takes the quantile from the
    normal distribution, corrected for skewness (Cornish & Fisher 1938)."""
    least, most = BOOTSTRAP_RANGE
    if least <= share <= most:
        error = math.sqrt(share * (1 - share) / n)
        a = (1 - 2 * share) / (6 * n * error)
        z = a - expanded_z(n, confidence)
        q = a + z / (1 - a * z)
        return share + error * (q + a * (q * q - 1))
    return wilson_ends(share, n, NormalDist().inv_cdf((1 + confidence) / 2))[0]


def _log_e(wins: int, n: int, threshold: float) -> float:
    """`certification.log_wealth` after `wins` wins of n outcomes, in any order."""
    bets_G = bets_against(threshold)
    paths_G = wins * np.log1p(bets_G * (1 - threshold)) + (n - wins) * np.log1p(-bets_G * threshold)
    return float(np.logaddexp.reduce(paths_G) - math.log(len(bets_G)))
