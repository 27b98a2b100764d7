"""Which due runs may start: one per campaign, once people have answered what it waits for.

Of several ticks missed while no worker ran, only the last one counts.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import FlowRunResponse

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder
from dpo_core.errors import RatchetError
from flows.config import CampaignConfig, load_config
from flows.people import can_resume
from flows.prefect.runs import tagged_campaign
from flows.worker.registry import Registry
from flows.worker.runs import NOTHING, Order, busy_message

RESUMING = "Resuming"
"""Name of the Scheduled state of a run that resumes."""

BY_HAND = "by-hand"
"""Pause key of a run that was paused in Prefect's pages."""

_FRESH = ("Scheduled", "Late")
_MISSED = f"{NOTHING}: no worker ran at this tick, and a later due tick replaces it"


def sort_due_runs(
    due: Sequence[FlowRunResponse], begun: Iterable[FlowRun | FlowRunResponse]
) -> list[tuple[FlowRunResponse, str | None]]:
    """(due run, None if it may start, else the reason to skip it), resumed runs first.

    Resumed runs are left out while another run has their campaign. Runs without a campaign's tag
    may start: their flow decides.
    """
    busy: dict[Layout, FlowRun | FlowRunResponse] = {}
    for other in begun:
        layout = tagged_campaign(other.tags)
        if layout is not None:
            busy[layout] = other
    decisions: list[tuple[FlowRunResponse, str | None]] = []
    for run in sorted(due, key=_is_fresh):
        layout = tagged_campaign(run.tags)
        if layout is None or layout not in busy:
            later = _is_fresh(run) and run.auto_scheduled and _has_later(run, due)
            decisions.append((run, _MISSED if later else None))
            if layout is not None and not later:
                busy[layout] = run
        elif _is_fresh(run):
            decisions.append((run, busy_message(busy[layout])))
    return decisions


def paused_by_hand(run: FlowRun) -> bool:
    """Whether the run was paused in Prefect's pages, which set no key, unlike Ratchet."""
    return run.state is None or run.state.state_details.pause_key in (None, BY_HAND)


def _is_fresh(run: FlowRunResponse) -> bool:
    """Whether the run has never begun and was not rescheduled."""
    return run.state_name in _FRESH


def _has_later(run: FlowRunResponse, due: Sequence[FlowRunResponse]) -> bool:
    return any(
        other.auto_scheduled
        and _is_fresh(other)
        and other.deployment_id == run.deployment_id
        and str(other.expected_start_time) > str(run.expected_start_time)
        for other in due
    )


_AFTER_ERROR_S = 60.0


class LabelProgress:
    """Polls whether people have answered, for each run as often as its config says."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._due: dict[UUID, float] = {}

    def has_answers(self, run: FlowRun) -> bool:
        """Whether the run may resume; False if unknown or if another process has the campaign."""
        layout = tagged_campaign(run.tags)
        if layout is None or time.monotonic() < self._due.get(run.id, 0.0):
            return False
        try:
            if not self._registry.knows(layout.root):
                raise self._registry.refusal(f"the campaign folder {layout.root}")
            config = _config(layout, Order.read(run.parameters).folder)
            self._due[run.id] = time.monotonic() + config.people_config.poll_s
            return holder(layout.lock) is None and can_resume(layout, config)
        except (RatchetError, OSError) as error:
            self._due[run.id] = time.monotonic() + _AFTER_ERROR_S
            print(f"{run.name}: {error}", flush=True)
            return False


def _config(layout: Layout, folder: Path) -> CampaignConfig:
    """The campaign's config, with the labelling server's folder relative to the run's folder."""
    config = load_config(layout.config, [])
    server = str(folder / config.people_config.server_folder)
    people = config.people_config.model_copy(update={"server_dir": server})
    return config.model_copy(update={"people": people})
