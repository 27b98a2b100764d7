"""What a worker does at every look: cancel, resume, start.

All that it must remember stands in Prefect's database and in the campaigns' folders, so that a
worker that is killed and started again goes on where it was.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import FlowRunResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Cancelled, Crashed, Pending, Scheduled

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder
from dpo_core.children import Child
from dpo_core.errors import RatchetError
from flows.prefect_runs import tagged_campaign
from flows.worker.flow import DEPLOYMENT, campaign
from flows.worker.people import People
from flows.worker.runs import find_runs


@dataclass
class _Running:
    run: FlowRunResponse
    result: Future[dict[str, Any]]
    child: Child | None = None
    cancelled: bool = False


@dataclass
class Worker:
    """Runs the deployment's runs, each in a child. A context manager: on exit none is left, and
    what was running is scheduled again."""

    layout: Layout
    api: str
    at_once: int
    _running: dict[UUID, _Running] = field(default_factory=dict)
    _closing: bool = False

    def __enter__(self) -> "Worker":
        self._client: SyncPrefectClient = get_client(sync_client=True).__enter__()
        self._threads = ThreadPoolExecutor(self.at_once)
        self._people = People()
        made = RunnerDeployment.from_flow(
            campaign, name=DEPLOYMENT, description="A campaign: from its config to its report."
        ).apply()
        assert isinstance(made, UUID), "outside of an event loop"
        self._deployment = made
        self._take_up()
        return self

    def look(self) -> None:
        """One round of the loop: what has ended, what to cancel, to resume and to start."""
        self._finish()
        self._cancel()
        for run in find_runs(self._client, self._deployment, [StateType.PAUSED]):
            if self._people.answered(run):
                self._client.resume_flow_run(run.id)
                _say(run, "goes on")
        self._start()

    def _start(self) -> None:
        free = self.at_once - len(self._running)
        if free <= 0:
            return
        waiting = self._client.get_scheduled_flow_runs_for_deployments([self._deployment])
        for run in sorted(waiting, key=lambda run: str(run.expected_start_time))[:free]:
            accepted: State[Any] | None = self._client.set_flow_run_state(run.id, Pending()).state
            if accepted is None or not accepted.is_pending():
                continue
            _say(run, "starts")
            running = _Running(run, Future())
            self._running[run.id] = running
            running.result = self._threads.submit(self._carry_out, running)

    def _carry_out(self, running: _Running) -> dict[str, Any]:
        log = self.layout.log(f"run-{running.run.id}")
        with Child.start("flows.worker.carry_out", log) as child:
            running.child = child
            if self._closing:
                return {"state": "Stopped", "message": ""}
            return child.ask({"run": str(running.run.id), "api": self.api})

    def _finish(self) -> None:
        for id, running in list(self._running.items()):
            if running.result.done():
                self._tell(id, running)
                del self._running[id]  # last: what could not be told is told at the next look

    def _tell(self, id: UUID, running: _Running) -> None:
        try:
            ended = running.result.result()
            _say(running.run, f"{ended['state'].lower()}  {ended['message']}".rstrip())
        except RatchetError as error:
            if running.cancelled:
                self._put(id, Cancelled(message="cancelled; finished steps are kept"))
                _say(running.run, "cancelled")
            else:
                self._put(id, Crashed(message=error.message))
                _say(running.run, error.shown())

    def _cancel(self) -> None:
        for run in find_runs(self._client, self._deployment, [StateType.CANCELLING]):
            running = self._running.get(run.id)
            if running is None:
                self._put(run.id, Cancelled())
            elif running.child is not None:
                running.cancelled = True
                running.child.close()

    def _take_up(self) -> None:
        """Schedule again what a process left that is gone, the worker's last one or this one."""
        left = [StateType.RUNNING, StateType.PENDING]
        for run in find_runs(self._client, self._deployment, left):
            layout = tagged_campaign(run.tags)
            if layout is None or holder(layout.lock) is None:
                self._put(run.id, Scheduled(name="Resuming", message="its process ended"))

    def _put(self, run: UUID, state: State[Any]) -> None:
        self._client.set_flow_run_state(run, state, force=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        for running in self._running.values():
            if running.child is not None:
                running.child.close()
        self._threads.shutdown(cancel_futures=True)
        with suppress(Exception):  # the server may be why we leave
            self._take_up()
        self._client.__exit__(None, None, None)


def _say(run: FlowRun | FlowRunResponse, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {run.name}: {what}", flush=True)
