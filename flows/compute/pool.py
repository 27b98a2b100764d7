"""Processes of one kind side by side, each with one job at a time."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dpo_core.children import Report
from dpo_core.jobs import ChildJob, JobResult
from flows.compute.dispatch import dispatch
from flows.compute.executor import Executor, Worker

Done = TypeVar("Done", bound=JobResult)


class WorkerPool:
    """Processes by their number, from 0; each starts at its first job.

    start: starts the process of a number. executor: where; one that begins a job more than once
    replaces processes that were lost.
    """

    def __init__(self, start: Callable[[int], Worker], executor: Executor | None = None) -> None:
        self._start = start
        self._executor = executor
        self._workers: dict[int, Worker] = {}

    def carry_out(
        self,
        jobs: Sequence[ChildJob[Done]],
        root: Path,
        workers: int,
        report: Callable[[int, int, str], None],
        finished: Callable[[int, int, Done], None],
        attempt: Callable[[int], ChildJob[Done]] | None = None,
    ) -> None:
        """Carry out jobs in their order by so many workers, each as it becomes free.

        Args:
            report: called with (number of the job, units done, name of the units).
            finished: called with (number of the job, of the worker, result), one at a time.
            attempt: the job of a number as it is begun this time; as it is in `jobs` without it.

        Raises: as `Child.ask`. Work that has not ended then is abandoned, and its processes end.
        """

        abandoned = threading.Event()
        executor = self._executor
        attempts = 1 if executor is None else executor.attempts
        ready: dict[int, Worker] = {}
        seconds: dict[int, float] = {}

        def prepare(number: int) -> None:
            worker, started_in = self.worker(number)
            ready[number] = worker
            seconds[number] = seconds.get(number, 0.0) + started_in
            if abandoned.is_set():  # while it started
                worker.close()
                raise worker.died()

        def carry_out(number: int, at: int) -> Done:
            if attempts == 1:
                prepare(number)
            tell: Report = lambda done, _, unit: report(at, done, unit)  # noqa: E731
            job = jobs[at] if attempt is None else attempt(at)
            result = ready[number].carry_out(job, root, tell)
            return result.started_in(seconds.pop(number))

        def stop_waiting() -> None:
            if executor is not None:
                executor.stop_waiting()

        def abandon() -> None:
            abandoned.set()
            stop_waiting()
            self.release()

        dispatch(
            range(len(jobs)),
            range(workers),
            carry_out,
            lambda worker, number, result: finished(number, worker, result),
            abandon=abandon,
            attempts=attempts,
            prepare=prepare if attempts > 1 else None,
            stop_waiting=stop_waiting,
        )

    def worker(self, number: int = 0) -> tuple[Worker, float]:
        """The process of that number, and the seconds that starting it took now."""
        worker = self._workers.get(number)
        if worker is not None and worker.usable():
            return worker, 0.0
        if worker is not None:
            worker.close()
        worker = self._workers[number] = self._start(number)
        return worker, worker.seconds_start

    def node(self, number: int) -> str:
        """The machine of that process; empty for this one."""
        worker = self._workers.get(number)
        return "" if worker is None else worker.node

    def running(self) -> Sequence[Worker]:
        """The processes that can be asked."""
        return [worker for worker in self._workers.values() if worker.usable()]

    def release(self) -> None:
        """End the processes; they are started again when they are needed."""
        for number in tuple(self._workers):
            self._workers.pop(number).close()
