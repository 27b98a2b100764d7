"""Runs in Prefect: their tags, closing stale ones, flushing logs and states, and artifacts."""

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.states import Crashed

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.errors import BadInput, ChildFailed
from dpo_core.server_keys import client_headers, report_link
from dpo_core.text import visible
from flows.session import Session
from reporting.report import write_report
from reporting.sections import sections
from reporting.sentences import cautions, headline, verdict
from reporting.summary import CampaignSummary, read_summary

_FLUSH_TIMEOUT_S = 5.0
_POLL_S = 0.02
_TAG = "campaign:"
_CRASHED = "its process ended; a later run resumed the campaign"


def campaign_tag(layout: Layout) -> str:
    """The tag of all runs of a campaign, since a server may have other flows and campaigns."""
    return f"{_TAG}{layout.root.resolve()}"


def replace_campaign_tag(tags: Iterable[str], layout: Layout) -> set[str]:
    """`tags` with the campaign's tag replaced by that of `layout`.

    A run has its deployment's tags, but Prefect's pages allow parameters of another campaign.
    """
    return {tag for tag in tags if not tag.startswith(_TAG)} | {campaign_tag(layout)}


def tagged_campaign(tags: Iterable[str]) -> Layout | None:
    """The campaign of a run with these tags, or None."""
    folders = [tag.removeprefix(_TAG) for tag in tags if tag.startswith(_TAG)]
    return Layout(Path(folders[0])) if folders else None


@contextmanager
def own_server(api: str) -> Iterator[None]:
    """Connect Prefect's client to the server at `api`, with the secret from the environment.

    Disables heartbeats of flows: each would wait up to a second for its thread, and nothing reads
    them, because a campaign's lock shows whether it is alive.
    """
    settings: dict[Any, Any] = {
        PREFECT_API_URL: api,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_CLIENT_CUSTOM_HEADERS: client_headers(os.environ),
    }
    with temporary_settings(settings):
        yield


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the server at `api`. Raises BadInput if the server does not answer."""
    try:
        with own_server(api), get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise BadInput(
            f"the Prefect server at {api} does not answer: {str(error) or type(error).__name__}",
            "Check that its worker runs, or restart it with `ratchet worker`.",
        ) from error


def crash_stale_runs(
    layout: Layout, *, but: UUID | None = None, state: State[None] | None = None
) -> None:
    """Mark the campaign's flow and task runs that a killed process left Running as Crashed, or as
    `state`.

    Call it only while holding the campaign's lock or after ending its process: then no run is
    alive, except `but`.
    """
    unfinished = [StateType.RUNNING, StateType.PENDING]
    tagged = FlowRunFilterTags(all_=[campaign_tag(layout)])
    flow_runs = FlowRunFilter(
        tags=tagged,
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
        id=FlowRunFilterId(not_any_=[but]) if but is not None else None,
    )
    task_runs = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished), name=None)
    )
    state = state or Crashed(message=_CRASHED)
    with get_client(sync_client=True) as client:
        for task_run in client.read_task_runs(
            flow_run_filter=FlowRunFilter(tags=tagged), task_run_filter=task_runs
        ):
            client.set_task_run_state(task_run.id, state, force=True)
        for flow_run in client.read_flow_runs(flow_run_filter=flow_runs):
            client.set_flow_run_state(flow_run.id, state, force=True)


_states: deque[State[Any]] = deque(maxlen=8)
"""Final states of the last tasks. They travel as events, which a server writes in order, two at a
time: once these are written, so are all earlier ones."""


def record_state(state: State[Any]) -> None:
    """Note a task's final state, which Prefect's client has queued as an event, for `flush`."""
    _states.append(state)


@contextmanager
def server_needed() -> Iterator[None]:
    """Raise ChildFailed if Prefect's client finds its server gone or failing, as on a full disk.

    Ratchet's own server is watched as well, but the client may notice first.
    """
    try:
        yield
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        why = str(error) or type(error).__name__
        if isinstance(error, httpx.HTTPStatusError):
            if not error.response.is_server_error:
                raise
            why = f"HTTP {error.response.status_code}; see its log"
        raise ChildFailed(
            f"Prefect's server at {os.environ.get('PREFECT_API_URL')} does not answer: {why}",
            "Finished steps are kept. Type the same `ratchet run` again to continue.",
        ) from error


def flush() -> None:
    """Send Prefect's queued logs and events, and wait until the last tasks' states are written.

    Prefect then creates new queues, since what follows may talk to another server.
    """
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_FLUSH_TIMEOUT_S)
    deadline = time.monotonic() + _FLUSH_TIMEOUT_S
    # Do not wait for a server that has gone.
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        while _states and time.monotonic() < deadline:
            if _written(client, _states[0]):
                _states.popleft()
            else:
                time.sleep(_POLL_S)
    _states.clear()


def _written(client: SyncPrefectClient, state: State[Any]) -> bool:
    task_run = state.state_details.task_run_id
    assert task_run is not None, "the final state of a task names its run"
    try:
        return client.read_task_run(task_run).state_id == state.id
    except ObjectNotFound:
        return False


def publish_round(session: Session, number: int) -> None:
    """Update the report, and attach the round's numbers to the active flow run."""
    summary = read_summary(session.layout.root)
    write_report(summary, session.layout.report)
    row = summary.row(number)
    assert row is not None, "the round is finished or waits for a decision"
    key = re.sub(r"[^a-z0-9]+", "-", session.config.name.lower()).strip("-")
    link = report_link(session.layout)
    sentences = " ".join((verdict(row, summary.settings.confidence), *cautions(summary, row)))
    table = [{"number": name, "value": value} for name, value in _numbers(summary, row)]
    create_table_artifact(table, key=f"{key}-round-{number}", description=f"{sentences} {link}")
    text = f"# {session.config.name}\n\nRound {number}: {sentences}\n\n{link}\n"
    create_markdown_artifact(text, key=f"{key}-report", description=headline(summary))


def _numbers(summary: CampaignSummary, row: RoundMetrics) -> Iterator[tuple[str, str]]:
    """(name, value) of the round's numbers, as `ratchet status` prints them."""
    for section in sections(replace(summary, rounds=(row,))):
        if section.header[0] == "round":
            yield from zip(section.header[1:], section.rows[-1][1:], strict=True)
    for reason, count in (row.dropped or {}).items():
        yield f"dropped: {visible(reason)}", f"{count:.0f}"
