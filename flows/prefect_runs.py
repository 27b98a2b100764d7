"""The bookkeeping of runs in Prefect: stale ones are closed, logs arrive before the server goes."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import State, StateType
from prefect.logging.handlers import APILogWorker
from prefect.states import Crashed

_FLUSH_TIMEOUT_S = 5.0
_CRASHED = "its process ended; a later run took the campaign up again"


def crash_stale_runs() -> None:
    """Mark as Crashed the runs that a killed process left Running.

    The campaign's lock is held, so none of them is alive.
    """
    unfinished = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    stale = FlowRunFilter(state=FlowRunFilterState(type=unfinished))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=stale):
            state: State[None] = Crashed(message=_CRASHED)
            client.set_flow_run_state(run.id, state, force=True)


def flush_logs() -> None:
    """Send what Prefect's log handler still holds while the server is up."""
    APILogWorker.drain_all(timeout=_FLUSH_TIMEOUT_S)
