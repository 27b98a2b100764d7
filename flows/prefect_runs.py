"""The bookkeeping of runs in Prefect: stale ones are closed, logs arrive before the server goes."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Crashed

from dpo_core.campaign.layout import Layout

_FLUSH_TIMEOUT_S = 5.0
_CRASHED = "its process ended; a later run took the campaign up again"


def campaign_tag(layout: Layout) -> str:
    """The tag of all runs of a campaign: a server may know other flows, and other campaigns."""
    return f"campaign:{layout.root.resolve()}"


@contextmanager
def without_heartbeats() -> Iterator[None]:
    """Flows within send none: each would wait for its heartbeat's thread, up to a second.

    On a server of our own nobody listens to them; a campaign's lock tells whether it is alive.
    """
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def crash_stale_runs(layout: Layout) -> None:
    """Mark as Crashed the campaign's runs that a killed process left Running, flows and tasks.

    The campaign's lock is held, so none of them is alive.
    """
    ours = [campaign_tag(layout)]
    unfinished = [StateType.RUNNING, StateType.PENDING]
    tagged = FlowRunFilterTags(all_=ours)
    flow_runs = FlowRunFilter(
        tags=tagged,
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
    )
    task_runs = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished), name=None),
    )
    state: State[None] = Crashed(message=_CRASHED)
    with get_client(sync_client=True) as client:
        for task_run in client.read_task_runs(
            flow_run_filter=FlowRunFilter(tags=tagged), task_run_filter=task_runs
        ):
            client.set_task_run_state(task_run.id, state, force=True)
        for flow_run in client.read_flow_runs(flow_run_filter=flow_runs):
            client.set_flow_run_state(flow_run.id, state, force=True)


def flush_logs() -> None:
    """Send what Prefect's log handler still holds while the server is up."""
    APILogWorker.drain_all(timeout=_FLUSH_TIMEOUT_S)
