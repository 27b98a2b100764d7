"""Where jobs run: the seam between what a campaign asks for and the machines that do it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from dpo_core.children import Child, Report
from dpo_core.errors import ChildDied
from dpo_core.jobs import ChildJob, Result
from flows.compute.workers import MachineResources, devices_of


class Worker(Protocol):
    """A process that carries out jobs, as `dpo_core.children.Child` does on this machine.

    node: the machine that it is on, by its name; empty for this one.
    """

    gpus: int
    first_gpu: int
    started: float
    ended: float | None
    seconds_start: float
    node: str

    def carry_out(
        self,
        job: ChildJob[Result],
        root: Path = ...,
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> Result: ...

    def usable(self) -> bool: ...

    def alive(self) -> bool: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def died(self) -> ChildDied: ...

    def cpu_seconds(self) -> float: ...


@dataclass(frozen=True)
class WorkerPlan:
    """A worker to be started: `module` as a process with this log and environment.

    number: among the `side_by_side` of its kind, from 0. threads, gpus: that it has for itself; no
    gpus: all there are. nodes: machines that it takes part of, with as much on each.
    """

    module: str
    log: Path
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int | None = None
    number: int = 0
    side_by_side: int = 1
    nodes: int = 1

    def on_node(self, number: int) -> "WorkerPlan":
        """Its part on one of the nodes, with a log of its own."""
        if not number:
            return self
        return replace(self, log=self.log.with_stem(f"{self.log.stem}-{number + 1}"))

    @property
    def name(self) -> str:
        return self.log.stem


class Executor(Protocol):
    """Machines that carry out a campaign's jobs.

    attempts: how often a shard is begun at most when processes or machines are lost. exclusive:
    whether what a worker has is kept from all others, so that one kind ends before the next begins.
    """

    attempts: int
    exclusive: bool

    def start(self, plan: WorkerPlan) -> Worker:
        """Start a worker and wait until it is ready. Raises ChildDied if it ends before."""

    def machines(self) -> Sequence[MachineResources]:
        """What each machine has for workers."""

    def stop_waiting(self) -> None:
        """Let calls of `start` that wait for room end with ChildDied."""

    def close(self) -> None:
        """Let go of the machines; workers have ended before."""


class LocalExecutor:
    """Child processes of this one."""

    attempts = 1  # what ended a process here, such as too little memory, would end the next
    exclusive = False

    def start(self, plan: WorkerPlan) -> Worker:
        gpus: Sequence[str] = ()
        if plan.gpus is not None and plan.side_by_side > 1:
            gpus = devices_of(plan.number, self._machine, plan.gpus)
        environment = dict(plan.environment)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        child = Child.start(plan.module, plan.log, environment)
        child.first_gpu = self._machine.gpus.index(gpus[0]) if gpus else 0
        return child

    def machines(self) -> Sequence[MachineResources]:
        return [self._machine]

    def stop_waiting(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """There is nothing to let go of."""

    @cached_property
    def _machine(self) -> MachineResources:
        return MachineResources.of_this_machine()
