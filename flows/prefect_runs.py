"""The bookkeeping of runs in Prefect: stale ones are closed, and what Prefect logs goes to a file."""

import logging
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

_LOGGERS = ("prefect", "prefect.flow_runs", "prefect.task_runs")


def crash_stale_runs() -> None:
    """Mark as Crashed the runs that a killed process left Running.

    The campaign's lock is held, so none of them is alive.
    """
    unfinished = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    stale = FlowRunFilter(state=FlowRunFilterState(type=unfinished))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=stale):
            state = Crashed(message="its process ended; the campaign was resumed by a later run")
            client.set_flow_run_state(run.id, state, force=True)


def log_to_file(path: Path) -> None:
    """Send what Prefect and its clients log to `path` instead of the screen."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            if isinstance(old, logging.StreamHandler):
                logger.removeHandler(old)
    logging.getLogger("prefect").addHandler(handler)
