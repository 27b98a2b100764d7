"""Which win rate a gate can see: how much better a policy must be to be promoted in four rounds of
five, by the rule and the prompts that there are.

A comparison is won or lost, and those of n prompts are independent of each other. Ties vary less,
so that with ties the gate sees a little more than is said here.
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
    """What must exceed `threshold`: the estimate; with `confidence` the lower end of its interval;
    with `alpha` the mean that a test at this level may go by (see certification)."""

    threshold: float
    confidence: float | None = None
    alpha: float | None = None

    def promotes(self, wins: int, n: int) -> bool:
        """Whether so many of n comparisons are enough."""
        if self.alpha is not None:
            return _log_e(wins, n, self.threshold) >= -math.log(self.alpha)
        if self.confidence is None:
            return wins / n > self.threshold
        return _low(wins / n, n, self.confidence) > self.threshold


def detectable_win_rate(rule: PromotionRule, n: int, power: float = POWER) -> float | None:
    """The lowest true win rate with which a policy is promoted with a chance of `power`, by n
    comparisons of different prompts; None where not even n wins of n promote.

    The number of wins is binomial. A certified gate may look at any time up to n and stop at once:
    what its test says after all n is a little less than what it says on the way.
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
    """How many prompts it takes to see this win rate; None where more than `most` do not."""

    def seen(n: int) -> bool:
        found = detectable_win_rate(rule, n) if n else None
        return found is not None and found <= win_rate

    return _first(seen, most)


def _first(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest whole number up to `most` from which on it holds."""
    if not holds(most):
        return None
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _low(share: float, n: int, confidence: float) -> float:
    """Lower end of `statistics.win_rate`. Where that one resamples, the quantile that it asks for
    is taken from the normal, corrected for skewness (Cornish & Fisher 1938)."""
    least, most = BOOTSTRAP_RANGE
    if least <= share <= most:
        error = math.sqrt(share * (1 - share) / n)
        a = (1 - 2 * share) / (6 * n * error)
        z = a - expanded_z(n, confidence)
        q = a + z / (1 - a * z)
        return share + error * (q + a * (q * q - 1))
    return wilson_ends(share, n, NormalDist().inv_cdf((1 + confidence) / 2))[0]


def _log_e(wins: int, n: int, threshold: float) -> float:
    """`certification.log_wealth` after n outcomes, of which so many were won, in any order."""
    bets_G = bets_against(threshold)
    paths_G = wins * np.log1p(bets_G * (1 - threshold)) + (n - wins) * np.log1p(-bets_G * threshold)
    return float(np.logaddexp.reduce(paths_G) - math.log(len(bets_G)))
