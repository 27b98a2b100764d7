"""Calibration curves: from a judge's certainty to its accuracy, fitted to known answers.

Three fits, by the amount of data:

- `platt`: σ(slope·signal + intercept) by scikit-learn's logistic regression. The slope is
  regularised (C = 1, on signals of unit spread), and the targets are those of Platt 1999,
  (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), so that a few right answers do not imply certainty.
- `isotonic`, from ISOTONIC pairs on: any non-decreasing curve, by scikit-learn.
- `constant`, no curve: there is no signal, all were right or all wrong, or accuracy does not grow
  with certainty.
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
    """σ(slope·signal + intercept), or linear interpolation between points (x, y)."""

    slope: float = 0.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def at(self, signal: float) -> float:
        """Probability of being right at `signal`."""
        if self.x:
            import numpy as np

            return float(np.interp(signal, self.x, self.y))
        return 1 / (1 + math.exp(-(self.slope * signal + self.intercept)))


def fit_curve(samples: Sequence[tuple[float, bool]]) -> tuple[Method, CalibrationCurve | None]:
    """Fit a calibration curve.

    Args:
        samples: (signal, whether the judge was right) of each pair.

    Returns:
        The method, and its curve; no curve for `constant`.
    """
    if len({x for x, _ in samples}) < 2 or len({r for _, r in samples}) < 2:
        return "constant", None
    if len(samples) >= ISOTONIC:
        return "isotonic", _isotonic(samples)
    curve = _platt(samples)
    return ("platt", curve) if curve.slope > 0 else ("constant", None)


def _platt(samples: Sequence[tuple[float, bool]]) -> CalibrationCurve:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    signals = np.array([x for x, _ in samples])
    right = np.array([r for _, r in samples])
    hits, misses = right.sum(), (~right).sum()
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    spread = signals.std()
    # A target between 0 and 1 becomes two examples, one of each class, weighted by it.
    model = LogisticRegression(C=1.0).fit(
        np.tile(signals / spread, 2)[:, None],
        np.repeat([True, False], len(samples)),
        np.concatenate([target, 1 - target]),
    )
    return CalibrationCurve(float(model.coef_[0, 0] / spread), float(model.intercept_[0]))


def _isotonic(samples: Sequence[tuple[float, bool]]) -> CalibrationCurve:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1).fit(*zip(*samples, strict=True))
    xs, ys = model.X_thresholds_, model.y_thresholds_
    return CalibrationCurve(x=tuple(float(x) for x in xs), y=tuple(float(y) for y in ys))
