"""What a round tells of itself: a row for each optimiser step, and the round's summary."""

from collections.abc import Iterator
from typing import Any, ClassVar

from dpo_core.preference.losses import margins
from dpo_core.training.curves import DPO_CURVE
from dpo_core.training.loop import Step


class Telling:
    """Rows of the curve as steps pass by, and what they come to; no pair is kept."""

    _STATE: ClassVar = ("_curve", "_epoch", "_first", "_steps", "_pairs", "_sums")

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self._curve: list[dict[str, Any]] = []
        self._epoch = -1
        self._first: dict[str, float] = {}
        self._steps = 0
        self._pairs = 0
        self._sums: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        """All that was told so far, as JSON; `resume` of another Telling takes it."""
        return {name: getattr(self, name) for name in self._STATE}

    def resume(self, state: dict[str, Any]) -> None:
        for name in self._STATE:
            setattr(self, name, state[name])

    def rows(self, steps: Iterator[Step]) -> Iterator[dict[str, Any]]:
        """The curve: rows of steps before a resume, then one for each step that is taken."""
        yield from self._curve
        for step in steps:
            means = step.measured.means(self.beta)
            if step.number == 1:
                measured = step.measured
                largest = margins(measured.policy, measured.reference).abs().max()
                self._first = {"first_loss": means["loss"], "first_margin_max": float(largest)}
            self._add(step, means)
            self._curve.append(_row(step, means))
            yield self._curve[-1]

    def summary(self) -> dict[str, Any]:
        """Means over the last epoch's steps, weighted by their pairs."""
        means = {name: total / self._pairs for name, total in self._sums.items()}
        return {**means, **self._first, "steps": self._steps}

    def _add(self, step: Step, means: dict[str, float]) -> None:
        if step.epoch != self._epoch:
            self._epoch, self._pairs, self._sums = step.epoch, 0, {}
        self._steps = step.number
        pairs = len(step.measured.pairs)
        self._pairs += pairs
        for name, mean in means.items():
            self._sums[name] = self._sums.get(name, 0.0) + pairs * mean


def _row(step: Step, means: dict[str, float]) -> dict[str, Any]:
    """The step's row of schema DPO_CURVE."""
    values = {
        **means,
        "step": step.number,
        "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate,
        "pairs": len(step.measured.pairs),
        "seconds": step.seconds,
    }
    return {name: values[name] for name in DPO_CURVE.names}
