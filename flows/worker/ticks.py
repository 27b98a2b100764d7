"""Which runs that are due may start: one per campaign, once people have answered what it waits for.

Ticks that nobody carried out at their time, because no worker ran, are one tick: the last of them.
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
from flows.worker.plan import NOTHING
from flows.worker.registry import Registry
from flows.worker.runs import Order, in_other_hands
from labeling.server import DEFAULT_FOLDER

RESUMING = "Resuming"
"""Name of the Scheduled state of a run that goes on."""


BY_HAND = "by-hand"
"""Pause key of a run that somebody paused in Prefect's pages."""


_FRESH = ("Scheduled", "Late")


_MISSED = f"{NOTHING}: no worker ran at this tick, and a later one that is due stands for both"


def sort_out(
    due: Sequence[FlowRunResponse], begun: Iterable[FlowRun | FlowRunResponse]
) -> list[tuple[FlowRunResponse, str | None]]:
    """Each run that is due with None, when it may start, or the reason why it ends undone.

    Runs that go on come before new ones of their campaign; they are left out while another run has
    it. Runs without a campaign's tag are sorted out by their flow.
    """
    busy: dict[Layout, FlowRun | FlowRunResponse] = {}
    for other in begun:
        layout = tagged_campaign(other.tags)
        if layout is not None:
            busy[layout] = other
    sorted_out: list[tuple[FlowRunResponse, str | None]] = []
    for run in sorted(due, key=_is_fresh):
        layout = tagged_campaign(run.tags)
        if layout is None or layout not in busy:
            later = _is_fresh(run) and run.auto_scheduled and _has_later(run, due)
            sorted_out.append((run, _MISSED if later else None))
            if layout is not None and not later:
                busy[layout] = run
        elif _is_fresh(run):
            sorted_out.append((run, in_other_hands(busy[layout])))
    return sorted_out


def paused_by_hand(run: FlowRun) -> bool:
    """Whether somebody paused the run in Prefect's pages, which give no key; Ratchet does."""
    return run.state is None or run.state.state_details.pause_key in (None, BY_HAND)


def _is_fresh(run: FlowRunResponse) -> bool:
    """Whether it has not begun before, and nobody has asked for it again."""
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
    """Asks for each run as often as its campaign's config says."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._due: dict[UUID, float] = {}

    def answered(self, run: FlowRun) -> bool:
        """False also when nobody can tell now, or another process runs the campaign."""
        layout = tagged_campaign(run.tags)
        if layout is None or time.monotonic() < self._due.get(run.id, 0.0):
            return False
        try:
            if not self._registry.knows(layout.root):
                raise self._registry.refusal(f"the campaign folder {layout.root}")
            config = _config(layout, Order.read(run.parameters).folder)
            self._due[run.id] = time.monotonic() + config.asked.poll_s
            return holder(layout.lock) is None and can_resume(layout, config)
        except (RatchetError, OSError) as error:
            self._due[run.id] = time.monotonic() + _AFTER_ERROR_S
            print(f"{run.name}: {error}", flush=True)
            return False


def _config(layout: Layout, folder: Path) -> CampaignConfig:
    """The campaign's config, with the labelling server looked for where the campaign's run does."""
    config = load_config(layout.config, [])
    server = str(folder / (config.asked.server_dir or DEFAULT_FOLDER))
    asked = config.asked.model_copy(update={"server_dir": server})
    return config.model_copy(update={"people": asked})
