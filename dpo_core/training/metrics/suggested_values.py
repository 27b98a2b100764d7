"""Suggested learning rates and βs for a round that moved too little or too far.

Close to the reference, margins grow in proportion to the learning rate, and the KL, a quadratic
form there, with its square. At the optimum of a loss, log-ratios are proportional to 1/β, so the KL
falls with the square of β. A change is at least twofold, or the next round would hardly show it,
and limited to the range where these rules can be trusted. Values are 1, 2 or 5 times a power of
ten, rounded away from what the round used.
"""

import math

WANTED_SPREAD_NATS = 0.1
"""Spread of margins that a raised rate aims for: ten times what counts as stuck."""

MOST_RISE, MOST_FALL, LEAST_CHANGE = 100.0, 10.0, 2.0


def suggest_higher_rate(rate: float, spread: float) -> float:
    """The learning rate for margins with WANTED_SPREAD_NATS, where `rate` gave `spread` nats.

    Example:
        >>> suggest_higher_rate(1e-6, spread=0.01)
        1e-05
    """
    times = MOST_RISE if spread <= 0 else WANTED_SPREAD_NATS / spread
    return _at_least(rate * min(max(times, LEAST_CHANGE), MOST_RISE))


def suggest_lower_rate(rate: float, moved: float, allowed: float) -> float:
    """The learning rate that moves the policy `allowed` nats, where `rate` moves it `moved`.

    Example:
        >>> suggest_lower_rate(1e-5, moved=100.0, allowed=25.0)
        5e-06
    """
    return _at_most(rate / _times_too_far(moved, allowed))


def suggest_higher_beta(beta: float, moved: float, allowed: float) -> float:
    """The β that keeps the policy within `allowed` nats, where `beta` lets it move `moved`.

    Example:
        >>> suggest_higher_beta(0.1, moved=100.0, allowed=25.0)
        0.2
    """
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
