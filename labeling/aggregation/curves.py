"""From how sure a judge is to how often it is right: the curve that pairs with known answers show.

Three fits, by what there is to learn from:

- `platt`: σ(slope·signal + intercept) by scikit-learn's logistic regression, its slope regularised
  (C = 1, on signals of unit spread), its targets those of Platt 1999, (N₊ + 1)/(N₊ + 2) and
  1/(N₋ + 2), so that a few right answers do not make anybody certain;
- `isotonic`, from ISOTONIC pairs on: any curve that never falls, by scikit-learn;
- `constant`, no curve, where there is no signal, where all were right or all wrong, or where being
  surer did not mean being right more often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Method = Literal["platt", "isotonic", "constant"]

ISOTONIC = 1000
"""Isotonic regression overfits below about this (scikit-learn's guide on calibration)."""


@dataclass(frozen=True)
class CalibrationCurve:
    """From a signal to a probability: σ(slope·signal + intercept), or between points (x, y)."""

    slope: float = 0.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def at(self, signal: float) -> float:
        if self.x:
            import numpy as np

            return float(np.interp(signal, self.x, self.y))
        return 1 / (1 + math.exp(-(self.slope * signal + self.intercept)))


def fit_curve(told: Sequence[tuple[float, bool]]) -> tuple[Method, CalibrationCurve | None]:
    """told: (signal, whether the judge was right) of each pair. No curve: `constant`."""
    if len({x for x, _ in told}) < 2 or len({r for _, r in told}) < 2:
        return "constant", None
    if len(told) >= ISOTONIC:
        return "isotonic", _isotonic(told)
    curve = _platt(told)
    return ("platt", curve) if curve.slope > 0 else ("constant", None)


def _platt(told: Sequence[tuple[float, bool]]) -> CalibrationCurve:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    signals = np.array([x for x, _ in told])
    right = np.array([r for _, r in told])
    hits, misses = right.sum(), (~right).sum()
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    spread = signals.std()
    # A target between 0 and 1 is the same example once of either class, by weight.
    model = LogisticRegression(C=1.0).fit(
        np.tile(signals / spread, 2)[:, None],
        np.repeat([True, False], len(told)),
        np.concatenate([target, 1 - target]),
    )
    return CalibrationCurve(float(model.coef_[0, 0] / spread), float(model.intercept_[0]))


def _isotonic(told: Sequence[tuple[float, bool]]) -> CalibrationCurve:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1).fit(*zip(*told, strict=True))
    xs, ys = model.X_thresholds_, model.y_thresholds_
    return CalibrationCurve(x=tuple(float(x) for x in xs), y=tuple(float(y) for y in ys))
