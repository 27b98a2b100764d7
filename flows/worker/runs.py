"""The flow runs of a worker's deployment, and the campaigns that they are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.prefect_runs import campaign_tag

UNFINISHED = (
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
)


@dataclass(frozen=True)
class Order:
    """What a run was asked for: the parameters of the flow."""

    config: str
    folder: Path
    campaign_dir: str | None
    overrides: Sequence[str]

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> "Order":
        """From a run's parameters, which Prefect's pages let anybody leave out or change."""
        return cls(
            config=parameters["config"],
            folder=Path(parameters.get("folder") or Path.cwd()).resolve(),
            campaign_dir=parameters.get("campaign_dir"),
            overrides=parameters.get("overrides") or [],
        )

    def parameters(self) -> dict[str, Any]:
        """As Prefect keeps them with the run."""
        return {
            "config": self.config,
            "folder": str(self.folder),
            "campaign_dir": self.campaign_dir,
            "overrides": list(self.overrides),
        }

    def root(self, name: str) -> Path:
        """The campaign's folder."""
        return (self.folder / (self.campaign_dir or Path("campaigns") / name)).resolve()


def find_runs(
    client: SyncPrefectClient, deployment: UUID, states: Sequence[StateType]
) -> list[FlowRun]:
    """The deployment's runs in one of `states`."""
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment]), state=_in(states)
        )
    )


def refuse_second(client: SyncPrefectClient, layout: Layout, *, but: UUID | None = None) -> None:
    """Raise BadInput when the campaign is in somebody's hands already."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[campaign_tag(layout)]),
            state=_in(UNFINISHED),
            deployment_id=FlowRunFilterDeploymentId(is_null_=False),
            id=FlowRunFilterId(not_any_=[but]) if but is not None else None,
        )
    )
    if runs:
        raise BadInput(
            f"the campaign in {layout.root} was handed over already: "
            f"its run {runs[0].name} is {runs[0].state_name}",
            "Let it go on, or cancel it in Prefect's pages first.",
        )


def _in(states: Sequence[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
