"""Workers on several nodes that train one round together. Imports no Ray.

The first one leads: it has the round's job and hands back its result, and answers all other jobs by
itself. On each node an ordinary training process starts torchrun for that node and holds the
connections to its ranks, so that no rank outlives what a node has lost.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpo_core.children import Report
from dpo_core.errors import ChildDied, ChildFailed, InvariantViolated, RatchetError
from dpo_core.jobs import ChildJob, JobResult, Result
from dpo_core.training.jobs import DpoJob, JoinJob
from flows.compute.owner import SharedFolder
from flows.compute.remote_worker import RemoteWorker

_SETTLE_S = 5.0
"""Seconds to wait, once a node has failed, for others that may have failed before it."""

_OF_ANOTHER = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|tcpstore", re.I)
"""In errors of processes that lost one of the others."""


@dataclass(frozen=True)
class _Ended:
    """How a call of the member of that number ended."""

    number: int
    result: JobResult | None = None
    error: BaseException | None = None


class Gang:
    """Members on a node each; as `Child` in all that a campaign asks of it.

    address: of the first member's node, as the others reach it.
    """

    def __init__(self, members: Sequence[RemoteWorker], address: str) -> None:
        self.node = ", ".join(member.node for member in members)
        self.first_gpu = members[0].first_gpu
        self.started = members[0].started
        self.ended: float | None = None
        self.gpus = 0
        self.seconds_start = 0.0
        self._members = members
        self._leader = members[0]
        self._address = address

    def start(self, folder: SharedFolder) -> None:
        """Start all children and wait until they are ready."""
        self._all([partial(member.start, folder) for member in self._members])
        self.seconds_start = max(member.seconds_start for member in self._members)

    def carry_out(
        self,
        job: ChildJob[Result],
        root: Path = Path("/"),
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> Result:
        """As `Child.carry_out`. When one node fails all end, and the error is that of the first
        cause, with its node's name."""
        if not isinstance(job, DpoJob):
            return self._leader.carry_out(job, root, report, notice)
        if not self.usable() and self.alive():
            raise InvariantViolated("a gang was sent a round after one that failed")
        port = self._leader.free_port()

        def join(number: int) -> JobResult:
            together = [f"--node-rank={number}", f"--nnodes={len(self._members)}"]
            together += [f"--master-addr={self._address}", f"--master-port={port}"]
            config = job.config.model_copy(update={"torchrun": together})
            member = self._members[number]
            if number:
                return member.carry_out(JoinJob(config=config), root, None, notice)
            return member.carry_out(job.model_copy(update={"config": config}), root, report, notice)

        result: Result
        result, *_ = self._all([partial(join, number) for number in range(len(self._members))])
        self.gpus = sum(member.gpus for member in self._members)
        return result

    def _all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """What the members' calls return. Once one fails all members end, and the cause is raised.

        The threads are nobody's to wait for: an interrupt must reach the members at once.
        """
        outcomes: queue.SimpleQueue[_Ended] = queue.SimpleQueue()

        def run(number: int) -> None:
            try:
                outcomes.put(_Ended(number, calls[number]()))
            except BaseException as error:
                outcomes.put(_Ended(number, error=error))

        for number in range(len(calls)):
            name = f"gang-{number}"
            threading.Thread(target=run, args=(number,), name=name, daemon=True).start()
        ended: dict[int, _Ended] = {}
        until: float | None = None
        while len(ended) < len(calls):
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                outcome = outcomes.get(timeout=left)
            except queue.Empty:
                break
            ended[outcome.number] = outcome
            if outcome.error is not None and until is None:
                until = time.monotonic() + _SETTLE_S
        errors = {n: outcome.error for n, outcome in ended.items() if outcome.error is not None}
        if errors:
            errors |= self._silent(set(range(len(calls))) - set(ended))
            self.close()
            raise self._cause(errors)
        return [ended[number].result for number in range(len(calls))]

    def _silent(self, numbers: set[int]) -> dict[int, BaseException]:
        """Of those members the ones that are lost, which may take a cluster long to notice."""
        if not numbers:
            return {}
        with ThreadPoolExecutor(len(numbers)) as threads:
            answers = dict(zip(numbers, threads.map(self._answers, numbers), strict=True))
        return {n: self._members[n].died() for n, answered in answers.items() if not answered}

    def _answers(self, number: int) -> bool:
        self._members[number].cpu_seconds()
        return self._members[number].alive()

    def _cause(self, errors: dict[int, BaseException]) -> BaseException:
        """The error that the others follow from; of equals, the first."""
        ranked = sorted(errors.items(), key=lambda each: _rank(each[1]))
        number, error = ranked[0]
        if isinstance(error, ChildFailed):
            error.message = f"on node {self._members[number].node}, {error.message}"
        return error

    def usable(self) -> bool:
        return all(member.usable() for member in self._members)

    def alive(self) -> bool:
        return all(member.alive() for member in self._members)

    def stop(self) -> None:
        """Ask the members to save their work and stop, and wait until they have: what one of them
        hears all do."""
        self._leader.stop()

    def died(self) -> ChildDied:
        lost = [member for member in self._members if not member.alive()]
        return (lost or self._members)[0].died()

    def cpu_seconds(self) -> float:
        return sum(member.cpu_seconds() for member in self._members)

    def close(self) -> None:
        """End all children at the same time: one that is lost answers late."""
        with ThreadPoolExecutor(len(self._members)) as threads:
            for ended in [threads.submit(member.close) for member in self._members]:
                with suppress(RatchetError):
                    ended.result()
        self.ended = self._leader.ended


def _rank(error: BaseException) -> int:
    """Low for a cause, high for what follows from the loss of another process."""
    if isinstance(error, ChildFailed):
        return 2 + bool(_OF_ANOTHER.search(error.message)) if not error.deliberate else 0
    return 1 if isinstance(error, ChildDied) else 0
