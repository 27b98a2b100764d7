"""Records a round's training curve, one row per optimiser step, and its summary."""

from collections.abc import Iterator
from typing import Any, ClassVar

from dpo_core.preference.losses import margins
from dpo_core.training.loop import Step
from dpo_core.training.metrics.curves import DPO_CURVE
from dpo_core.training.metrics.throughput import Counts, Throughput
from dpo_core.training.round import Round

Means = dict[str, float | None]


class CurveRecorder:
    """Turns steps into rows of the curve and sums over the round; keeps no pairs.

    peak_flops: peak operations per second of the device, for MFU.
    """

    _STATE: ClassVar = ("_curve", "_epoch", "_first", "_steps", "_sums", "_counts")

    def __init__(self, round: Round, peak_flops: float | None = None) -> None:
        self.beta = round.config.beta
        self._speed = Throughput(round, peak_flops)
        self._curve: list[dict[str, Any]] = []
        self._epoch = -1
        self._first: Means = {}
        self._steps = 0
        self._sums: dict[str, tuple[float, int]] = {}
        self._counts: Counts = {}

    def state(self) -> dict[str, Any]:
        """What was recorded so far, as JSON, for `resume` of another recorder."""
        return {name: getattr(self, name) for name in self._STATE}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from the state of an earlier recorder."""
        for name in self._STATE:
            setattr(self, name, state[name])

    def rows(self, steps: Iterator[Step]) -> Iterator[dict[str, Any]]:
        """Yield the curve: rows from before a resume, then one for each step."""
        yield from self._curve
        for step in steps:
            means = {
                **step.measured.means(self.beta),
                "gradient_norm": step.gradient_norm,
                "learning_rate": step.learning_rate,
            }
            if step.number == 1:
                self._first = _first(step, means)
            counts = self._speed.counts(step.measured.pairs, step.seconds)
            self._add(step, means, counts)
            self._curve.append(_row(step, {**means, **counts, **self._speed.rates(counts)}))
            yield self._curve[-1]

    def summary(self) -> dict[str, Any]:
        """Means over the last epoch's steps, weighted by their pairs; speed over all steps."""
        means = {
            name: total / pairs if pairs else None for name, (total, pairs) in self._sums.items()
        }
        return {
            **means,
            **self._first,
            "steps": self._steps,
            "train_tokens": self._counts["tokens"],
            **self._speed.rates(self._counts),
        }

    def _add(self, step: Step, means: Means, counts: Counts) -> None:
        """Add a step to the sums; values that are None do not count in their mean."""
        if step.epoch != self._epoch:
            self._epoch, self._sums = step.epoch, {}
        self._steps = step.number
        pairs = len(step.measured.pairs)
        for name, mean in means.items():
            total, counted = self._sums.get(name, (0.0, 0))
            known = (total + pairs * mean, counted + pairs) if mean is not None else None
            self._sums[name] = known or (total, counted)
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count


def _first(step: Step, means: Means) -> Means:
    """Loss and largest margin before any update; no margin without a reference."""
    policy, reference = step.measured.policy, step.measured.reference
    largest = None if reference is None else float(margins(policy, reference).abs().max())
    return {"first_loss": means["loss"], "first_margin_max": largest}


def _row(step: Step, known: dict[str, Any]) -> dict[str, Any]:
    """The step's row of schema DPO_CURVE."""
    values = {**known, "step": step.number, "pairs": len(step.measured.pairs)}
    return {name: values[name] for name in DPO_CURVE.names}
