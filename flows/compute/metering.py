"""Costs of a step: CPU time, GPU time, and what judges were paid."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.step_facts import StepCosts
from dpo_core.json_lines import end_of_lines
from flows.compute.executor import Worker
from labeling.judges.spending import read_spending


@dataclass(frozen=True)
class GpuHold:
    """GPUs from the number `first` on, held from `start` to `end` in seconds."""

    gpus: int
    start: float
    end: float
    first: int = 0


class CostMeter:
    """Meters a session's processes and its judges' spending.

    What a killed run spent counts with the next finished step, so nothing is lost or counted twice.
    entries: those that this campaign wrote itself; inherited ones count in their own campaign.
    """

    def __init__(self, spending: Path, entries: Sequence[Entry]) -> None:
        self._children: list[Worker] = []
        self._spending = spending
        size = end_of_lines(spending)
        before = [StepCosts.read(entry.facts) for entry in entries]
        measured = not before or any(costs.cpu_seconds is not None for costs in before)
        # Spending from before steps were metered belongs to steps that are already recorded.
        end = max((costs.spending_to or 0 for costs in before), default=0)
        self._counted = min(size, end) if measured else size

    def watch(self, child: Worker) -> Worker:
        """Count the child's costs from now on."""
        self._children.append(child)
        return child

    def measure(self, make: Callable[[Path], StepResult]) -> Callable[[Path], StepResult]:
        """`make`, with its costs."""

        def measuring(folder: Path) -> StepResult:
            self._children = [child for child in self._children if child.ended is None]
            start, own = time.monotonic(), time.process_time()
            before = {id(child): child.cpu_seconds() for child in self._children}
            result = make(folder)
            children = sum(c.cpu_seconds() - before.get(id(c), 0.0) for c in self._children)
            costs = StepCosts(
                cpu_seconds=round(time.process_time() - own + children, 2),
                gpu_seconds=round(gpu_seconds(self._holds(), start, time.monotonic()), 2),
            )
            return replace(result, costs=self._with_spending(costs))

        return measuring

    def _holds(self) -> Iterator[GpuHold]:
        now = time.monotonic()
        for child in self._children:
            end = now if child.ended is None else child.ended
            yield GpuHold(child.gpus, child.started, end, child.first_gpu)

    def _with_spending(self, costs: StepCosts) -> StepCosts:
        """The costs, with what judges were paid since the last step."""
        spending = read_spending(self._spending, self._counted)
        self._counted = spending.end
        spent = {"judges_spent": spending.by_source, "spending_to": self._counted}
        return costs.model_copy(update=spent) if spending.by_source else costs


def gpu_seconds(holds: Iterable[GpuHold], start: float, end: float) -> float:
    """Seconds between `start` and `end`, times the GPUs held at each moment; one that several hold
    counts once."""
    holding = [hold for hold in holds if hold.gpus]
    cuts = {start, end, *(t for hold in holding for t in (hold.start, hold.end) if start < t < end)}
    return sum(
        (after - before) * len(_held(h for h in holding if h.start <= before and h.end >= after))
        for before, after in pairwise(sorted(cuts))
    )


def _held(holds: Iterable[GpuHold]) -> set[int]:
    return {gpu for hold in holds for gpu in range(hold.first, hold.first + hold.gpus)}
