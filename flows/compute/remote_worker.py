"""A child on another node of a cluster, as its campaign sees it. Imports no Ray."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpo_core.child_events import pass_on, restore_error
from dpo_core.children import RESUME, Report, log_tail
from dpo_core.errors import ChildDied, Interrupted, InvariantViolated
from dpo_core.jobs import ChildJob, JobRequest, Result, job_request
from flows.compute.cluster import ClusterNode
from flows.compute.executor import WorkerPlan
from flows.compute.owner import SharedFolder, StartedChild
from flows.compute.shipping import FilePart, LogPart, Shipment, Shipper

_ANSWER_S = 10.0
_AHEAD = 16
"""Events, or parts of files, that an owner sends before the first of them is taken."""
_GPUS_PER_NODE = 1024
"""Numbers for the GPUs of each node, so that no two GPUs of a cluster have the same."""


class OwnerLost(ChildDied):
    """The actor, or its node, does not answer any more."""


class RemoteWorker:
    """A child on another node, by its owner there; as `Child` in all that a campaign asks of it.

    owner: the actor. answer: waits for what it answers; raises OwnerLost. end: called once it is
    closed. doing: called with what it does now. shipper: where files are not shared.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        node: ClusterNode,
        owner: Any,
        answer: Callable[[Any, float | None], Any],
        end: Callable[["RemoteWorker"], None],
        doing: Callable[["RemoteWorker", str], None],
        shipper: Shipper | None = None,
    ) -> None:
        self.plan = plan
        self.node = node.name
        self.gpus = 0
        self.first_gpu = node.number * _GPUS_PER_NODE
        self.started = time.monotonic()
        self.ended: float | None = None
        self.seconds_start = 0.0
        self._owner = owner
        self._answer = answer
        self._end = end
        self._doing = doing
        self._shipper = shipper
        self._cpu_seconds = 0.0
        self._failed = False
        self._lost = ""

    def start(self, folder: SharedFolder) -> None:
        """Start the child and wait until it is ready."""
        plan = self.plan
        started: StartedChild = self._get(
            self._owner.start.remote(plan.module, plan.log, dict(plan.environment), folder)
        )
        if started.error is not None:
            raise restore_error(started.error)
        self.seconds_start = time.monotonic() - self.started
        if started.gpus and started.gpus[0].isdecimal():
            self.first_gpu += int(started.gpus[0])

    def carry_out(
        self,
        job: ChildJob[Result],
        root: Path = Path("/"),
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> Result:
        """As `Child.carry_out`; a node or an owner that is lost counts as a child that died."""
        if self._failed and self.alive():
            raise InvariantViolated(f"{self.plan.module} was sent a request after one that failed")
        self._doing(self, _describe(job))
        try:
            shipment = None if self._shipper is None else self._shipper.pack(job)
            answer = self._ask(job_request(job, root), shipment, report, notice)
        except Interrupted:  # it stopped when asked to
            raise
        except Exception:
            self._failed = True
            raise
        self.gpus = int(answer.get("gpus", self.gpus))
        self._doing(self, "")
        return job.read_result(answer)

    def _ask(
        self,
        request: JobRequest,
        shipment: Shipment | None,
        report: Report | None,
        notice: Callable[[str], None] | None,
    ) -> dict[str, Any]:
        ask = self._owner.ask.options(
            num_returns="streaming", _generator_backpressure_num_objects=_AHEAD
        )
        for reference in ask.remote(request, shipment):
            event = self._get(reference)
            if isinstance(event, FilePart | LogPart):
                self._receive(event)
                continue
            pass_on(event, self.plan.log, report, notice)
            if event["event"] == "result":
                result: dict[str, Any] = event["result"]
                return result
        self._lost = "it was closed"
        raise self.died()

    def _receive(self, part: FilePart | LogPart) -> None:
        if isinstance(part, FilePart):
            assert self._shipper is not None, "files come where some were sent"
            self._shipper.receive(part)
            return
        self.plan.log.parent.mkdir(parents=True, exist_ok=True)
        with self.plan.log.open("ab") as log:
            log.write(part.content)

    def _get(self, reference: Any, timeout_s: float | None = None) -> Any:
        """What the owner answers. Raises ChildDied where it is lost."""
        try:
            return self._answer(reference, timeout_s)
        except OwnerLost as error:
            self._lost = error.message
            raise self.died() from None

    def usable(self) -> bool:
        return not self._failed and self.alive()

    def alive(self) -> bool:
        """Whether it was not closed, and is not known to be lost."""
        return self.ended is None and not self._lost

    def stop(self) -> None:
        with suppress(ChildDied):
            self._get(self._owner.stop.remote())

    def died(self) -> ChildDied:
        what = f"was lost ({self._lost})" if self._lost else "was closed"
        return ChildDied(
            f"the process {self.plan.module} on node {self.node} {what}; "
            f"the end of {self.plan.log}:\n{log_tail(self.plan.log)}",
            RESUME,
        )

    def free_port(self) -> int:
        """A port of its node that nothing listens at."""
        return int(self._get(self._owner.free_port.remote(), _ANSWER_S))

    def cpu_seconds(self) -> float:
        """As far as it is known: a lost owner can no longer be asked."""
        if self.alive():
            with suppress(ChildDied):
                seconds = self._get(self._owner.cpu_seconds.remote(), _ANSWER_S)
                self._cpu_seconds = max(self._cpu_seconds, seconds)
        return self._cpu_seconds

    def close(self) -> None:
        """End the child and its owner, and give back what they had."""
        if self.ended is not None:
            return
        if not self._lost:
            with suppress(ChildDied):
                self._cpu_seconds = self._get(self._owner.close.remote(), _ANSWER_S)
        self.ended = time.monotonic()
        self._end(self)


def _describe(job: ChildJob[Any]) -> str:
    """A job in a few words: its kind, and its rows where it has some of many."""
    op, first, count = (getattr(job, name, None) for name in ("op", "first", "count"))
    rows = f" rows {first} to {first + count - 1}" if count and first is not None else ""
    return f"{op}{rows}"
