"""The flow runs of a worker's deployments, and the campaigns that they are about."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import FlowRunResponse

from dpo_core.campaign.layout import Layout, default_root
from dpo_core.campaign.lock import holder
from dpo_core.errors import BadInput, RatchetError
from flows.config import CampaignConfig, load_config
from flows.people import may_go_on
from flows.prefect.runs import campaign_tag, tagged_campaign
from flows.worker.plan import NOTHING, Mode
from flows.worker.registry import Registry
from labeling.server import DEFAULT_FOLDER

BEGUN = (StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
"""A process has it, or had it and left it for people."""

SKIPPED = "Skipped"
"""Name of the Completed state of a run that found its campaign in other hands."""


@dataclass(frozen=True)
class Order:
    """What a run was asked for: the parameters of the flow."""

    config: str
    folder: Path
    campaign_dir: str | None
    overrides: Sequence[str]
    mode: Mode = "up_to"
    rounds: int | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> "Order":
        """From a run's parameters, which Prefect's pages let anybody leave out or change."""
        return cls(
            config=parameters["config"],
            folder=Path(parameters.get("folder") or Path.cwd()).resolve(),
            campaign_dir=parameters.get("campaign_dir"),
            overrides=parameters.get("overrides") or [],
            mode=parameters.get("mode") or "up_to",
            rounds=parameters.get("rounds"),
        )

    def parameters(self) -> dict[str, Any]:
        """As Prefect keeps them with the run."""
        return {
            "config": self.config,
            "folder": str(self.folder),
            "campaign_dir": self.campaign_dir,
            "overrides": list(self.overrides),
            "mode": self.mode,
            "rounds": self.rounds,
        }

    def load(self) -> CampaignConfig:
        """The config as the run has it, whose folder is the current one. Raises ConfigError."""
        named = Path(self.campaign_dir) if self.campaign_dir is not None else None
        return load_config(Path(self.config), self.overrides, named)

    def root(self, name: str) -> Path:
        """The campaign's folder."""
        return (self.folder / (self.campaign_dir or default_root(name))).resolve()


def find_runs(
    client: SyncPrefectClient, deployments: Sequence[UUID], states: Sequence[StateType]
) -> list[FlowRun]:
    """The deployments' runs in one of `states`."""
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)), state=_in(states)
        )
    )


def runs_of(
    client: SyncPrefectClient,
    layout: Layout,
    states: Sequence[StateType] = BEGUN,
    *,
    but: UUID | None = None,
) -> list[FlowRun]:
    """The runs of a campaign that were handed over, in one of `states`; none for a later time."""
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[campaign_tag(layout)]),
            state=_in(states),
            deployment_id=FlowRunFilterDeploymentId(is_null_=False),
            id=FlowRunFilterId(not_any_=[but]) if but is not None else None,
        )
    )
    now = datetime.now(UTC)
    return [run for run in found if (run.next_scheduled_start_time or now) <= now]


def refuse_second(client: SyncPrefectClient, layout: Layout) -> None:
    """Raise BadInput when the campaign is in somebody's hands already."""
    runs = runs_of(client, layout, (*BEGUN, StateType.SCHEDULED, StateType.PENDING))
    if runs:
        raise BadInput(
            f"the campaign in {layout.root} was handed over already: "
            f"its run {runs[0].name} is {runs[0].state_name}",
            "Let it go on, or cancel it in Prefect's pages first.",
        )


def in_other_hands(other: FlowRun | FlowRunResponse) -> str:
    """What a run says that found `other` at its campaign."""
    return (
        f"{NOTHING}: the campaign's run {other.name} is {other.state_name}, and a second one "
        "beside it is refused"
    )


def _in(states: Sequence[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))


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


class People:
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
            return holder(layout.lock) is None and may_go_on(layout, config)
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
