"""Records a round's training curve, one row per optimiser step, and its summary."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from dpo_core.preference.losses import margins
from dpo_core.training.loop import Step
from dpo_core.training.metrics.curves import DPO_CURVE, DpoCurveRow
from dpo_core.training.metrics.throughput import Counts, Throughput
from dpo_core.training.results import CurveSummary
from dpo_core.training.round import Round

Means = dict[str, float | None]


@dataclass
class RecordedCurve:
    """What a recorder has recorded. first: what was measured before any update. sums: over the
    pairs of the `epoch`, name → (sum, pairs). counts: over all steps."""

    curve: list[DpoCurveRow] = field(default_factory=list)
    epoch: int = -1
    first: Means = field(default_factory=dict)
    steps: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)


class CurveRecorder:
    """Turns steps into rows of the curve and sums over the round; keeps no pairs.

    peak_flops: peak operations per second of the device, for MFU. so_far: what an earlier recorder
    of the round recorded.
    """

    def __init__(
        self, round: Round, peak_flops: float | None = None, so_far: RecordedCurve | None = None
    ) -> None:
        self.beta = round.config.beta
        self.so_far = so_far or RecordedCurve()
        self._speed = Throughput(round, peak_flops)

    def rows(self, steps: Iterator[Step]) -> Iterator[DpoCurveRow]:
        """Yield the curve: rows from before a resume, then one for each step."""
        curve = self.so_far.curve
        yield from curve
        for step in steps:
            means = {
                **step.measured.means(self.beta),
                "gradient_norm": step.gradient_norm,
                "learning_rate": step.learning_rate,
            }
            if step.number == 1:
                self.so_far.first = _first(step, means)
            counts = self._speed.counts(step.measured.pairs, step.seconds)
            self._add(step, means, counts)
            curve.append(_row(step, {**means, **counts, **self._speed.rates(counts)}))
            yield curve[-1]

    def summary(self) -> CurveSummary:
        """Means over the last epoch's steps, weighted by their pairs; speed over all steps."""
        done = self.so_far
        means = {
            name: total / pairs if pairs else None for name, (total, pairs) in done.sums.items()
        }
        speed = {"train_tokens": done.counts["tokens"], **self._speed.rates(done.counts)}
        return CurveSummary.read({**means, **done.first, "steps": done.steps, **speed})

    def _add(self, step: Step, means: Means, counts: Counts) -> None:
        """Add a step to the sums; values that are None do not count in their mean."""
        done = self.so_far
        if step.epoch != done.epoch:
            done.epoch, done.sums = step.epoch, {}
        done.steps = step.number
        pairs = len(step.measured.pairs)
        for name, mean in means.items():
            total, counted = done.sums.get(name, (0.0, 0))
            known = (total + pairs * mean, counted + pairs) if mean is not None else None
            done.sums[name] = known or (total, counted)
        for name, count in counts.items():
            done.counts[name] = done.counts.get(name, 0) + count


def _first(step: Step, means: Means) -> Means:
    """Loss and largest margin before any update; no margin without a reference."""
    policy, reference = step.measured.policy, step.measured.reference
    largest = None if reference is None else float(margins(policy, reference).abs().max())
    return {"first_loss": means["loss"], "first_margin_max": largest}


def _row(step: Step, known: Means) -> DpoCurveRow:
    values = {**known, "step": step.number, "pairs": len(step.measured.pairs)}
    return cast(DpoCurveRow, {name: values[name] for name in DPO_CURVE.names})
