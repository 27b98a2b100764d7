"""A value to try where a round moved too little or too far, from how far off it was.

Close to the reference, margins grow in proportion to the learning rate, and the KL, which is a
quadratic form there, with its square. At the optimum of a loss log-ratios are proportional to 1/β,
so that the KL falls with the square of β. No change is smaller than twofold, which the next round
would hardly show, nor larger than what these lines can be trusted with. Values are 1, 2 or 5 times
a power of ten: the last before, or the first after, what the rule gives.
"""

import math

WANTED_SPREAD_NATS = 0.1
"""Spread of the margins that a rate is raised for: ten times what counts as none."""

MOST_RISE, MOST_FALL, LEAST_CHANGE = 100.0, 10.0, 2.0


def suggest_higher_rate(rate: float, spread: float) -> float:
    """The learning rate for WANTED_SPREAD_NATS, where `rate` gave margins this spread, nats."""
    times = MOST_RISE if spread <= 0 else WANTED_SPREAD_NATS / spread
    return _at_least(rate * min(max(times, LEAST_CHANGE), MOST_RISE))


def suggest_lower_rate(rate: float, moved: float, allowed: float) -> float:
    """The learning rate that moves the policy `allowed` nats, where `rate` moves it `moved`."""
    return _at_most(rate / _times_too_far(moved, allowed))


def suggest_higher_beta(beta: float, moved: float, allowed: float) -> float:
    """The β that holds the policy within `allowed` nats, where `beta` lets it go `moved`."""
    return _at_least(beta * _times_too_far(moved, allowed))


def _times_too_far(moved: float, allowed: float) -> float:
    return min(max(math.sqrt(moved / allowed), LEAST_CHANGE), MOST_FALL)


def _at_most(value: float) -> float:
    """The largest of 1, 2, 5 · 10ⁿ that is not above `value`."""
    power = math.floor(math.log10(value) + 1e-9)
    return float(f"{max(d for d in (1, 2, 5) if d <= value / 10.0**power + 1e-9)}e{power}")


def _at_least(value: float) -> float:
    """The smallest of 1, 2, 5 · 10ⁿ that is not below `value`."""
    below = _at_most(value)
    steps = {1: 2.0, 2: 2.5, 5: 2.0}
    if math.isclose(below, value, rel_tol=1e-9):
        return below
    leading = int(f"{below:e}"[0])
    return float(f"{below * steps[leading]:.0e}")
