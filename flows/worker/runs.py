"""The flow runs of a worker's deployments, and the campaigns that they are about."""

from collections.abc import Mapping, Sequence
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
from dpo_core.errors import BadInput
from flows.config import CampaignConfig, load_config
from flows.prefect.runs import campaign_tag
from flows.worker.plan import NOTHING, Mode

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
