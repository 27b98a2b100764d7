"""The worker's loop: cancel, resume and start runs.

All its state is in Prefect's database and in the campaigns' folders, so that a killed worker
continues where it was when it is started again.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import FlowRunResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Pending, Scheduled, Suspended

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder
from dpo_core.children import Child
from dpo_core.errors import RatchetError
from flows.campaign import CAMPAIGN_FLOW
from flows.config import load_config, read_stored
from flows.notify import send_notification
from flows.prefect.runs import crash_stale_runs, tagged_campaign
from flows.worker.carry_out import RunEnded, RunJob
from flows.worker.claim import Claim
from flows.worker.due_runs import BY_HAND, RESUMING, LabelProgress, paused_by_hand, sort_due_runs
from flows.worker.flow import DEPLOYMENT, campaign
from flows.worker.registry import Registry
from flows.worker.runs import BEGUN, SKIPPED, Order, find_runs
from flows.worker.schedules import find_schedules

UNREACHABLE = "Unreachable"
"""How a run ends whose process could not reach Prefect; it resumes when Prefect is back."""

FAILED = "Failed"
"""Prefect's state of a run whose flow raised."""

SUSPENDED = "Suspended"
_PAUSED = "paused; resume it in Prefect's pages"
_CANCELLED = "cancelled; finished steps are kept"
_DELETED = "deleted in Prefect's pages; finished steps are kept"
_PATIENCE = timedelta(seconds=10)
_LAST_STATES_S = 20.0


@dataclass
class _RunningFlow:
    run: FlowRunResponse
    result: Future[RunEnded]
    child: Child | None = None
    cancelled: bool = False
    paused: bool = False


@dataclass
class CampaignWorker:
    """Runs the deployments' runs, each in a child process.

    A context manager: on exit it ends all children and schedules their runs again. prepare: called
    with the order of each run before its process starts.
    """

    layout: Layout
    api: str
    at_once: int
    allow_env: Sequence[str] = ()
    prepare: Callable[[Order], None] = lambda order: None
    _running: dict[UUID, _RunningFlow] = field(default_factory=dict)
    _closing: bool = False

    def __enter__(self) -> "CampaignWorker":
        self._client: SyncPrefectClient = get_client(sync_client=True).__enter__()
        self._claim = Claim(self._client, self.layout, f"{CAMPAIGN_FLOW}/{DEPLOYMENT}")
        self._claim.take()
        self._threads = ThreadPoolExecutor(self.at_once)
        self._registry = Registry(self.layout, self.allow_env)
        self._people = LabelProgress(self._registry)
        deployment = RunnerDeployment.from_flow(
            campaign, name=DEPLOYMENT, description="A campaign, from its config to its report."
        ).apply()
        assert isinstance(deployment, UUID), "outside of an event loop"
        self._served = {deployment: DEPLOYMENT}
        self._find_schedules()
        self._reschedule_orphans()
        return self

    def look(self) -> None:
        """One pass of the loop: report ended runs, then cancel, resume and start runs.

        Raises BadInput if another worker has claimed the server.
        """
        self._claim.keep()
        self._find_schedules()
        self._finish()
        self._cancel()
        self._end_deleted()
        for run in self._find([StateType.PAUSED]):
            if paused_by_hand(run):
                self._leave(run)
            elif self._people.has_answers(run):
                # Scheduled, not resumed: Prefect would require a run's form to be filled in.
                self._put(run.id, Scheduled(name=RESUMING))
                _say(run.name, "resumes")
        self._start()

    def _find_schedules(self) -> None:
        """Serve the deployments of `ratchet schedule`, new ones included."""
        schedules = find_schedules(self._client)
        for new in schedules:
            campaign = tagged_campaign(new.tags)
            if new.id not in self._served and campaign and not self._registry.knows(campaign.root):
                _say(new.name, str(self._registry.refusal(f"the campaign folder {campaign.root}")))
        own = {id: name for id, name in self._served.items() if name == DEPLOYMENT}
        self._served = {**own, **{schedule.id: schedule.name for schedule in schedules}}

    def _find(self, states: Sequence[StateType]) -> list[FlowRun]:
        return find_runs(self._client, list(self._served), states)

    def _start(self) -> None:
        free = self.at_once - len(self._running)
        due = self._client.get_scheduled_flow_runs_for_deployments(
            list(self._served), scheduled_before=datetime.now(UTC)
        )
        due = [self._with_name(run) for run in due if run.id not in self._running]
        due.sort(key=lambda run: str(run.expected_start_time))
        begun = self._find(BEGUN) if due else []
        running = [running.run for running in self._running.values()]
        for run, why in sort_due_runs(due, [*running, *begun]):
            if why is not None:
                self._skip(run, why)
            elif free > 0:
                free -= self._begin(run)

    def _begin(self, run: FlowRunResponse) -> bool:
        """Start the run, unless Prefect refuses it. Returns whether it started."""
        accepted: State[Any] | None = self._client.set_flow_run_state(run.id, Pending()).state
        if accepted is None or not accepted.is_pending():
            return False
        _say(run.name, "starts")
        running = _RunningFlow(run, Future())
        self._running[run.id] = running
        running.result = self._threads.submit(self._carry_out, running)
        return True

    def _with_name(self, run: FlowRunResponse) -> FlowRunResponse:
        """The run with its campaign's name: Prefect gives a new tick a random one."""
        if run.deployment_id is None or not run.auto_scheduled or run.run_count:
            return run
        return run.model_copy(update={"name": self._served[run.deployment_id]})

    def _skip(self, run: FlowRunResponse, why: str) -> None:
        name = f"{run.name}, skipped"
        self._client.update_flow_run(run.id, name=name)
        self._put(run.id, Completed(name=SKIPPED, message=why))
        _say(name, why)

    def _leave(self, run: FlowRun) -> None:
        """End the process of a run that was paused in Prefect's pages, and remove the timeout at
        which Prefect would fail it: it stays paused until it is resumed there."""
        running = self._running.get(run.id)
        if running is not None and running.child is not None and not running.paused:
            running.paused = True
            running.child.close()
        if run.state is not None and run.state.state_details.pause_timeout is not None:
            self._put(run.id, Suspended(pause_key=BY_HAND, message=run.state.message))

    def _carry_out(self, running: _RunningFlow) -> RunEnded:
        log = self.layout.log(f"run-{running.run.id}")
        self.prepare(Order.read(running.run.parameters))
        with Child.start("flows.worker.carry_out", log) as child:
            running.child = child
            if self._closing:
                return RunEnded(state="Stopped")
            run, worker = running.run.id, self.layout.root.resolve()
            job = RunJob(run=run, api=self.api, worker=worker, allow_env=self.allow_env)
            return child.carry_out(job)

    def _finish(self) -> None:
        for id, running in list(self._running.items()):
            if running.result.done():
                try:
                    self._report(id, running)
                except ObjectNotFound:
                    _say(running.run.name, _DELETED)
                del self._running[id]  # last, so that a failed report is repeated at the next look

    def _report(self, id: UUID, running: _RunningFlow) -> None:
        try:
            ended = running.result.result()
            run = self._client.read_flow_run(id)
            name = run.name
            if ended.state == SUSPENDED and paused_by_hand(run):
                _say(name, _PAUSED)
                return
            if ended.state == UNREACHABLE:
                self._put(id, _resuming("Prefect did not answer", _PATIENCE))
            _say(name, f"{ended.state.lower()}  {ended.message}".rstrip())
            if ended.state == FAILED:
                self._notify_failure(running.run, ended.message, admitted=True)
        except RatchetError as error:
            name = self._client.read_flow_run(id).name
            if running.paused:
                _say(name, _PAUSED)
            elif running.cancelled:
                self._put(id, Cancelled(message=_CANCELLED))
                layout = tagged_campaign(self._client.read_flow_run(id).tags)
                if layout is not None:
                    crash_stale_runs(layout, state=Cancelled(message=_CANCELLED))
                _say(name, "cancelled")
            else:
                self._put(id, Crashed(message=error.message))
                _say(name, error.shown())
                self._notify_failure(running.run, str(error), admitted=False)

    def _cancel(self) -> None:
        for run in self._find([StateType.CANCELLING]):
            running = self._running.get(run.id)
            if running is None:
                self._put(run.id, Cancelled())
            elif running.child is not None:
                running.cancelled = True
                running.child.close()

    def _end_deleted(self) -> None:
        """End the processes of runs that were deleted in Prefect's pages."""
        if not self._running:
            return
        running_ids = FlowRunFilter(id=FlowRunFilterId(any_=list(self._running)))
        existing = {run.id for run in self._client.read_flow_runs(flow_run_filter=running_ids)}
        for id, running in self._running.items():
            if id not in existing and running.child is not None:
                running.child.close()

    def _reschedule_orphans(self) -> None:
        """Schedule the runs that the worker's last process left behind."""
        for run in self._find([StateType.RUNNING, StateType.PENDING]):
            layout = tagged_campaign(run.tags)
            if layout is None or holder(layout.lock) is None:
                self._put(run.id, _resuming("its process ended"))

    def _let_end(self) -> None:
        """Let finished runs send their last states to Prefect, then report them."""
        for id, running in self._running.items():
            run = self._client.read_flow_run(id)
            assert run.state is not None, "it was started"
            if run.state.is_final() or (run.state.is_paused() and not paused_by_hand(run)):
                wait([running.result], _LAST_STATES_S)
        self._finish()

    def _notify_failure(self, run: FlowRunResponse, text: str, *, admitted: bool) -> None:
        """Notify those named in the campaign's stored config or, if the run was `admitted`, in the
        config it names. Tags may name any folder, even one that was not submitted."""
        layout, order = tagged_campaign(run.tags), Order.read(run.parameters)
        try:
            if layout and layout.config.exists() and self._registry.knows(layout.root):
                config = read_stored(layout)
            elif admitted:
                config = load_config(order.folder / order.config, order.overrides)
            else:
                return
        except RatchetError:  # the config may be the cause of the failure
            return
        send_notification(config, "failure", text, print)

    def _put(self, run: UUID, state: State[Any]) -> None:
        self._client.set_flow_run_state(run, state, force=True)

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # a dead server may be the reason for the exit
            self._let_end()
        self._closing = True
        for running in self._running.values():
            if running.child is not None:
                running.child.close()
        self._threads.shutdown(cancel_futures=True)
        with suppress(Exception):
            for run in self._find([StateType.RUNNING, StateType.PENDING]):
                if run.id in self._running:
                    self._put(run.id, _resuming("the worker was stopped"))
            self._claim.release()
        self._client.__exit__(None, None, None)


def _resuming(why: str, later: timedelta = timedelta()) -> State[Any]:
    at = datetime.now(UTC) + later
    return Scheduled(name=RESUMING, message=why, scheduled_time=at)


def _say(name: str, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {what}", flush=True)
