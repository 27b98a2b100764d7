"""The bookkeeping of runs in Prefect: stale ones are closed, logs and states arrive before the
server goes.
"""

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
from dpo_core.errors import BadInput, ChildFailed
from dpo_core.text import visible
from flows.prefect.credentials import client_headers, report_link
from flows.session import Session
from reporting.numbers import Row, confidence, dropped_counts
from reporting.report import write_report
from reporting.sections import sections
from reporting.sentences import cautions, headline, verdict
from reporting.summary import CampaignSummary, read_summary

_FLUSH_TIMEOUT_S = 5.0
_POLL_S = 0.02
_TAG = "campaign:"
_CRASHED = "its process ended; a later run took the campaign up again"


def campaign_tag(layout: Layout) -> str:
    """The tag of all runs of a campaign: a server may know other flows, and other campaigns."""
    return f"{_TAG}{layout.root.resolve()}"


def retagged(tags: Iterable[str], layout: Layout) -> set[str]:
    """The tags of a run of that campaign, which was perhaps made for another one: Prefect's pages
    take any parameters, and the tags are those of the deployment."""
    return {tag for tag in tags if not tag.startswith(_TAG)} | {campaign_tag(layout)}


def tagged_campaign(tags: Iterable[str]) -> Layout | None:
    """The campaign that a run with these tags belongs to."""
    folders = [tag.removeprefix(_TAG) for tag in tags if tag.startswith(_TAG)]
    return Layout(Path(folders[0])) if folders else None


@contextmanager
def own_server(api: str) -> Iterator[None]:
    """Within, Prefect's client talks to the server whose API is at `api`, one of our own, whose
    secret the environment tells it.

    Flows send no heartbeats: each would wait for its heartbeat's thread, up to a second, and
    nobody listens to them; a campaign's lock tells whether it is alive.
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
    """A client of the server at `api`, within which `own_server` holds. Raises BadInput, in words,
    where the server does not answer."""
    try:
        with own_server(api), get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise BadInput(
            f"the Prefect server at {api} does not answer: {str(error) or type(error).__name__}",
            "Look whether its worker runs, and start it again with `ratchet worker`.",
        ) from error


def crash_stale_runs(
    layout: Layout, *, but: UUID | None = None, state: State[None] | None = None
) -> None:
    """Mark as Crashed, or as `state` says, the campaign's runs that a killed process left Running,
    flows and tasks.

    The campaign's lock is held, or its process was ended just now, so none of them is alive, except
    the run `but`.
    """
    ours = [campaign_tag(layout)]
    unfinished = [StateType.RUNNING, StateType.PENDING]
    tagged = FlowRunFilterTags(all_=ours)
    flow_runs = FlowRunFilter(
        tags=tagged,
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
        id=FlowRunFilterId(not_any_=[but]) if but is not None else None,
    )
    task_runs = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=unfinished), name=None),
    )
    state = state or Crashed(message=_CRASHED)
    with get_client(sync_client=True) as client:
        for task_run in client.read_task_runs(
            flow_run_filter=FlowRunFilter(tags=tagged), task_run_filter=task_runs
        ):
            client.set_task_run_state(task_run.id, state, force=True)
        for flow_run in client.read_flow_runs(flow_run_filter=flow_runs):
            client.set_flow_run_state(flow_run.id, state, force=True)


_told: deque[State[Any]] = deque(maxlen=8)
"""How the last tasks ended. These states travel as events, which a server writes one after the
other, two at a time: once these are written, those before them are."""


def told(state: State[Any]) -> None:
    """A task ended in `state`, which Prefect's client has handed to its worker for events."""
    _told.append(state)


@contextmanager
def server_needed() -> Iterator[None]:
    """Raise ChildFailed, in words, where Prefect's client finds that its server has gone, or that
    it fails itself, as it does without room for its database.

    Ratchet's own server is watched as well, but the client may be the first to know.
    """
    try:
        yield
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        why = str(error) or type(error).__name__
        if isinstance(error, httpx.HTTPStatusError):
            if not error.response.is_server_error:
                raise
            why = f"HTTP {error.response.status_code}, its log says why"
        raise ChildFailed(
            f"Prefect's server at {os.environ.get('PREFECT_API_URL')} does not answer: {why}",
            "Finished steps are kept: the same `ratchet run` continues where this one stopped.",
        ) from error


def flush() -> None:
    """Send what Prefect's workers for logs and events still hold while the server is up, and wait
    until it has written the states of the last tasks.

    Both workers are made anew for what follows, which may talk to another server.
    """
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_FLUSH_TIMEOUT_S)
    deadline = time.monotonic() + _FLUSH_TIMEOUT_S
    # A server that has gone away meanwhile is nobody to wait for.
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        while _told and time.monotonic() < deadline:
            if _written(client, _told[0]):
                _told.popleft()
            else:
                time.sleep(_POLL_S)
    _told.clear()


def _written(client: SyncPrefectClient, state: State[Any]) -> bool:
    task_run = state.state_details.task_run_id
    assert task_run is not None, "the state of a task that ran names its run"
    try:
        return client.read_task_run(task_run).state_id == state.id
    except ObjectNotFound:
        return False


def publish_round(session: Session, number: int) -> None:
    """Bring the report up to date and hand the round's numbers to the flow run that is active."""
    summary = read_summary(session.layout.root)
    write_report(summary, session.layout.report)
    row = summary.row(number)
    assert row is not None, "it is finished, or its question is asked"
    key = re.sub(r"[^a-z0-9]+", "-", session.config.name.lower()).strip("-")
    link = report_link(session.layout)
    said = " ".join((verdict(row, confidence(summary)), *cautions(summary, row)))
    table = [{"number": name, "value": value} for name, value in _numbers(summary, row)]
    create_table_artifact(table, key=f"{key}-round-{number}", description=f"{said} {link}")
    text = f"# {session.config.name}\n\nRound {number}: {said}\n\n{link}\n"
    create_markdown_artifact(text, key=f"{key}-report", description=headline(summary))


def _numbers(summary: CampaignSummary, row: Row) -> Iterator[tuple[str, str]]:
    """The round's numbers as `ratchet status` writes them, one below the other."""
    for section in sections(replace(summary, rounds=(row,))):
        if section.header[0] == "round":
            yield from zip(section.header[1:], section.rows[-1][1:], strict=True)
    for reason, count in dropped_counts(row).items():
        yield f"dropped: {visible(reason)}", f"{count:.0f}"
