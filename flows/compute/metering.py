"""What making a step takes: CPU time, GPU time, and what judges were paid."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.ledger import Entry
from dpo_core.children import Child
from dpo_core.json_lines import end_of_lines
from labeling.judges.spending import read_spending

_SPENDING_TO = "spending_to"


@dataclass(frozen=True)
class Held:
    """So many GPUs, held from one moment to another."""

    gpus: int
    start: float
    end: float


class CostMeter:
    """Watches a session's processes, and the file of what judges spent.

    Money that a killed run spent is counted with the next step that is finished, so that nothing is
    lost or counted twice. entries: those that this campaign wrote itself: what a branch took along
    counts in another campaign's file.
    """

    def __init__(self, spending: Path, entries: Sequence[Entry]) -> None:
        self._children: list[Child] = []
        self._spending = spending
        size = end_of_lines(spending)
        told = [int(e.facts[_SPENDING_TO]) for e in entries if _SPENDING_TO in e.facts]
        measured = not entries or any("cpu_seconds" in entry.facts for entry in entries)
        # What judges spent before steps were measured belongs to steps that are long written down.
        self._counted = min(size, max(told, default=0)) if measured else size

    def watch(self, child: Child) -> Child:
        """Count what the child takes from now on."""
        self._children.append(child)
        return child

    def measured(self, make: Callable[[Path], StepResult]) -> Callable[[Path], StepResult]:
        """`make`, whose facts then say what it took."""

        def measuring(folder: Path) -> StepResult:
            self._children = [child for child in self._children if child.ended is None]
            start, own = time.monotonic(), time.process_time()
            before = {id(child): child.cpu_seconds() for child in self._children}
            made = make(folder)
            children = sum(c.cpu_seconds() - before.get(id(c), 0.0) for c in self._children)
            took = {
                "cpu_seconds": round(time.process_time() - own + children, 2),
                "gpu_seconds": round(gpu_seconds(self._held(), start, time.monotonic()), 2),
                **self._spent(),
            }
            return replace(made, facts={**made.facts, **took})

        return measuring

    def _held(self) -> Iterator[Held]:
        now = time.monotonic()
        for child in self._children:
            yield Held(child.gpus, child.started, now if child.ended is None else child.ended)

    def _spent(self) -> dict[str, Any]:
        """What judges were paid since the last step that asked; nothing where they were not."""
        spending = read_spending(self._spending, self._counted)
        self._counted = spending.end
        if not spending.by_source:
            return {}
        paid = {source: asdict(cost) for source, cost in spending.by_source.items()}
        return {"judges_spent": paid, _SPENDING_TO: self._counted}


def gpu_seconds(held: Iterable[Held], start: float, end: float) -> float:
    """Seconds between `start` and `end`, times the GPUs held at each moment.

    Processes begin with the same GPU: where several hold some at a time, the most counts.
    """
    holding = [one for one in held if one.gpus]
    cuts = {start, end, *(t for one in holding for t in (one.start, one.end) if start < t < end)}
    return sum(
        (after - before)
        * max((one.gpus for one in holding if one.start <= before and one.end >= after), default=0)
        for before, after in pairwise(sorted(cuts))
    )
