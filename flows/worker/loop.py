"""What a worker does at every look: cancel, resume, start.

All that it must remember stands in Prefect's database and in the campaigns' folders, so that a
worker that is killed and started again goes on where it was.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
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
from flows.notify import tell
from flows.prefect.runs import crash_stale_runs, tagged_campaign
from flows.worker.claim import Claim
from flows.worker.flow import DEPLOYMENT, campaign
from flows.worker.registry import Registry
from flows.worker.runs import BEGUN, SKIPPED, Order, find_runs
from flows.worker.schedules import find_schedules
from flows.worker.ticks import BY_HAND, RESUMING, LabelProgress, paused_by_hand, sort_out

UNREACHABLE = "Unreachable"
"""How a run ended whose process could not reach Prefect: it goes on when Prefect is back."""

FAILED = "Failed"
"""Prefect's name of the state of a run whose flow raised."""

SUSPENDED = "Suspended"
_PAUSED = "paused; it goes on when it is resumed in Prefect's pages"
_CANCELLED = "cancelled; finished steps are kept"
_DELETED = "deleted in Prefect's pages; finished steps are kept"
_PATIENCE = timedelta(seconds=10)
_LAST_STATES_S = 20.0


@dataclass
class _RunningFlow:
    run: FlowRunResponse
    result: Future[dict[str, Any]]
    child: Child | None = None
    cancelled: bool = False
    paused: bool = False


@dataclass
class CampaignWorker:
    """Runs the deployment's runs, each in a child. A context manager: on exit none is left, and
    what was running is scheduled again."""

    layout: Layout
    api: str
    at_once: int
    allow_env: Sequence[str] = ()
    _running: dict[UUID, _RunningFlow] = field(default_factory=dict)
    _closing: bool = False

    def __enter__(self) -> "CampaignWorker":
        self._client: SyncPrefectClient = get_client(sync_client=True).__enter__()
        self._claim = Claim(self._client, self.layout, f"{CAMPAIGN_FLOW}/{DEPLOYMENT}")
        self._claim.take()
        self._threads = ThreadPoolExecutor(self.at_once)
        self._registry = Registry(self.layout, self.allow_env)
        self._people = LabelProgress(self._registry)
        made = RunnerDeployment.from_flow(
            campaign, name=DEPLOYMENT, description="A campaign: from its config to its report."
        ).apply()
        assert isinstance(made, UUID), "outside of an event loop"
        self._served = {made: DEPLOYMENT}
        self._find_schedules()
        self._take_up()
        return self

    def look(self) -> None:
        """One round of the loop: what has ended, what to cancel, to resume and to start.

        Raises BadInput when another worker has come in place of this one.
        """
        self._claim.keep()
        self._find_schedules()
        self._finish()
        self._cancel()
        self._end_deleted()
        for run in self._find([StateType.PAUSED]):
            if paused_by_hand(run):
                self._leave(run)
            elif self._people.answered(run):
                # Not resumed: where the run has a form, Prefect would want it filled in.
                self._put(run.id, Scheduled(name=RESUMING))
                _say(run.name, "goes on")
        self._start()

    def _find_schedules(self) -> None:
        """Serve the deployments that `ratchet schedule` made, also those made meanwhile."""
        made = find_schedules(self._client)
        for new in made:
            campaign = tagged_campaign(new.tags)
            if new.id not in self._served and campaign and not self._registry.knows(campaign.root):
                _say(new.name, str(self._registry.refusal(f"the campaign folder {campaign.root}")))
        found = {deployment.id: deployment.name for deployment in made}
        ours = {id: name for id, name in self._served.items() if name == DEPLOYMENT}
        self._served = {**ours, **found}

    def _find(self, states: Sequence[StateType]) -> list[FlowRun]:
        return find_runs(self._client, list(self._served), states)

    def _start(self) -> None:
        free = self.at_once - len(self._running)
        due = self._client.get_scheduled_flow_runs_for_deployments(
            list(self._served), scheduled_before=datetime.now(UTC)
        )
        due = [self._called(run) for run in due if run.id not in self._running]
        due.sort(key=lambda run: str(run.expected_start_time))
        begun = self._find(BEGUN) if due else []
        running = [running.run for running in self._running.values()]
        for run, why in sort_out(due, [*running, *begun]):
            if why is not None:
                self._skip(run, why)
            elif free > 0:
                free -= self._begin(run)

    def _begin(self, run: FlowRunResponse) -> bool:
        """Start the run, unless Prefect says that it may not be started."""
        accepted: State[Any] | None = self._client.set_flow_run_state(run.id, Pending()).state
        if accepted is None or not accepted.is_pending():
            return False
        _say(run.name, "starts")
        running = _RunningFlow(run, Future())
        self._running[run.id] = running
        running.result = self._threads.submit(self._carry_out, running)
        return True

    def _called(self, run: FlowRunResponse) -> FlowRunResponse:
        """The run under the name of its campaign: Prefect names a tick by chance, and the flow
        gives it a better name once it has begun."""
        if run.deployment_id is None or not run.auto_scheduled or run.run_count:
            return run
        return run.model_copy(update={"name": self._served[run.deployment_id]})

    def _skip(self, run: FlowRunResponse, why: str) -> None:
        name = f"{run.name}, skipped"
        self._client.update_flow_run(run.id, name=name)
        self._put(run.id, Completed(name=SKIPPED, message=why))
        _say(name, why)

    def _leave(self, run: FlowRun) -> None:
        """End the process of a run that somebody paused in Prefect's pages. It stays paused until
        somebody resumes it there: without a time at which Prefect would make it fail."""
        running = self._running.get(run.id)
        if running is not None and running.child is not None and not running.paused:
            running.paused = True
            running.child.close()
        if run.state is not None and run.state.state_details.pause_timeout is not None:
            self._put(run.id, Suspended(pause_key=BY_HAND, message=run.state.message))

    def _carry_out(self, running: _RunningFlow) -> dict[str, Any]:
        log = self.layout.log(f"run-{running.run.id}")
        with Child.start("flows.worker.carry_out", log) as child:
            running.child = child
            if self._closing:
                return {"state": "Stopped", "message": ""}
            return child.ask(
                {
                    "run": str(running.run.id),
                    "api": self.api,
                    "worker": str(self.layout.root.resolve()),
                    "allow_env": list(self.allow_env),
                }
            )

    def _finish(self) -> None:
        for id, running in list(self._running.items()):
            if running.result.done():
                try:
                    self._tell(id, running)
                except ObjectNotFound:
                    _say(running.run.name, _DELETED)
                del self._running[id]  # last: what could not be told is told at the next look

    def _tell(self, id: UUID, running: _RunningFlow) -> None:
        try:
            ended = running.result.result()
            run = self._client.read_flow_run(id)
            name = run.name
            if ended["state"] == SUSPENDED and paused_by_hand(run):
                _say(name, _PAUSED)
                return
            if ended["state"] == UNREACHABLE:
                self._put(id, _resuming("Prefect did not answer", _PATIENCE))
            _say(name, f"{ended['state'].lower()}  {ended['message']}".rstrip())
            if ended["state"] == FAILED:
                self._tell_failure(running.run, ended["message"], admitted=True)
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
                self._tell_failure(running.run, str(error), admitted=False)

    def _cancel(self) -> None:
        for run in self._find([StateType.CANCELLING]):
            running = self._running.get(run.id)
            if running is None:
                self._put(run.id, Cancelled())
            elif running.child is not None:
                running.cancelled = True
                running.child.close()

    def _end_deleted(self) -> None:
        """End the processes of runs that somebody deleted in Prefect's pages."""
        if not self._running:
            return
        ours = FlowRunFilter(id=FlowRunFilterId(any_=list(self._running)))
        there = {run.id for run in self._client.read_flow_runs(flow_run_filter=ours)}
        for id, running in self._running.items():
            if id not in there and running.child is not None:
                running.child.close()

    def _take_up(self) -> None:
        """Schedule again what the worker's last process left."""
        for run in self._find([StateType.RUNNING, StateType.PENDING]):
            layout = tagged_campaign(run.tags)
            if layout is None or holder(layout.lock) is None:
                self._put(run.id, _resuming("its process ended"))

    def _let_end(self) -> None:
        """A run that is over has a process until Prefect has its last states: it may end by itself,
        and is told of."""
        for id, running in self._running.items():
            run = self._client.read_flow_run(id)
            assert run.state is not None, "it was started"
            if run.state.is_final() or (run.state.is_paused() and not paused_by_hand(run)):
                wait([running.result], _LAST_STATES_S)
        self._finish()

    def _tell_failure(self, run: FlowRunResponse, text: str, *, admitted: bool) -> None:
        """To whom the campaign's config names: as it stands in its folder, or, where the run was
        `admitted`, as it was asked for. Tags may name any folder, also one nobody handed over."""
        layout, order = tagged_campaign(run.tags), Order.read(run.parameters)
        try:
            if layout and layout.config.exists() and self._registry.knows(layout.root):
                config = read_stored(layout)
            elif admitted:
                config = load_config(order.folder / order.config, order.overrides)
            else:
                return
        except RatchetError:  # what failed may be just that
            return
        tell(config, "failure", text, print)

    def _put(self, run: UUID, state: State[Any]) -> None:
        self._client.set_flow_run_state(run, state, force=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(Exception):  # the server may be why we leave
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
