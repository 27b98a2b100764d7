"""Processes of one kind side by side, each with one job at a time."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dpo_core.children import Child, Report
from dpo_core.jobs import ChildJob, JobResult
from flows.compute.dispatch import dispatch

Done = TypeVar("Done", bound=JobResult)


class WorkerPool:
    """Child processes by their number, from 0; each starts at its first job.

    start: starts the process of a number.
    """

    def __init__(self, start: Callable[[int], Child]) -> None:
        self._start = start
        self._children: dict[int, Child] = {}

    def carry_out(
        self,
        jobs: Sequence[ChildJob[Done]],
        root: Path,
        workers: int,
        report: Callable[[int, int, str], None],
        finished: Callable[[int, int, Done], None],
    ) -> None:
        """Carry out jobs in their order by so many workers, each as it becomes free.

        Args:
            report: called with (number of the job, units done, name of the units).
            finished: called with (number of the job, of the worker, result), one at a time.

        Raises: as `Child.ask`. Work that has not ended then is abandoned, and its processes end.
        """

        abandoned = threading.Event()

        def carry_out(worker: int, number: int) -> Done:
            child, seconds = self.worker(worker)
            if abandoned.is_set():  # while it started
                child.close()
                raise child.died()
            tell: Report = lambda done, _, unit: report(number, done, unit)  # noqa: E731
            return child.carry_out(jobs[number], root, tell).started_in(seconds)

        def abandon() -> None:
            abandoned.set()
            self.release()

        dispatch(
            range(len(jobs)),
            range(workers),
            carry_out,
            lambda worker, number, result: finished(number, worker, result),
            abandon=abandon,
        )

    def worker(self, number: int = 0) -> tuple[Child, float]:
        """The process of that number, and the seconds that starting it took now."""
        child = self._children.get(number)
        if child is not None and child.usable():
            return child, 0.0
        if child is not None:
            child.close()
        child = self._children[number] = self._start(number)
        return child, child.seconds_start

    def running(self) -> Sequence[Child]:
        """The processes that can be asked."""
        return [child for child in self._children.values() if child.usable()]

    def release(self) -> None:
        """End the processes; they are started again when they are needed."""
        for number in tuple(self._children):
            self._children.pop(number).close()
