"""The flow runs of a worker's deployments: their parameters, their rounds and their campaigns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
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

from dpo_core.campaign.current import read_current
from dpo_core.campaign.facts import is_finished, read_round_metrics
from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput
from dpo_core.text import counted
from flows.config import CampaignConfig, load_config
from flows.prefect.runs import campaign_tag

Mode = Literal["up_to", "append"]

NOTHING = "nothing to do"
"""Beginning of the message of a run that played no round."""

_TAG = re.compile(r"rounds:(\d+)-(\d+)")


@dataclass(frozen=True)
class RoundRange:
    """The first and the last round that a run plays."""

    mode: Mode
    first: int
    last: int

    @property
    def tag(self) -> str:
        return f"rounds:{self.first}-{self.last}"

    @property
    def label(self) -> str:
        if self.first == self.last:
            return f"round {self.last}"
        return f"rounds {self.first}-{self.last}"


def plan_rounds(
    mode: Mode, rounds: int | None, config: CampaignConfig, finished: int, tags: Iterable[str]
) -> RoundRange:
    """The rounds of a run with these parameters and tags, after `finished` rounds.

    A resumed run already has its tag, so that rounds it added itself are not counted again.
    """
    if mode == "up_to":
        last = rounds or config.rounds
        return RoundRange(mode, min(finished + 1, last), last)
    matches = [match for tag in tags if (match := _TAG.fullmatch(tag))]
    if matches:
        return RoundRange(mode, int(matches[0][1]), int(matches[0][2]))
    return RoundRange(mode, finished + 1, finished + (rounds or config.schedule.rounds))


def finished_rounds(layout: Layout) -> int:
    """Number of finished, valid rounds without a gap from the first."""
    number = 0
    while is_finished(layout, number + 1):
        number += 1
    return number


def describe_outcome(layout: Layout, plan: RoundRange, before: int) -> str:
    """One sentence on what a run did to a campaign that had `before` finished rounds."""
    now = min(finished_rounds(layout), plan.last)
    why = stop_reason(layout) if now < plan.last else ""
    if now <= before:
        already = f"{counted(before, 'round')} {'is' if before == 1 else 'are'} finished"
        return f"{NOTHING}: {why or already}"
    row = read_round_metrics(layout, now)
    decided = row.decision if row is not None else ""
    done = RoundRange(plan.mode, min(before + 1, now), now).label
    parts = dict.fromkeys((f"{done} finished", decided, why))  # equal if the gate stops it
    return "; ".join(part for part in parts if part)


def stop_reason(layout: Layout) -> str:
    """Why the campaign plays no further round; empty if it does."""
    stopped = read_current(layout).stopped
    return stopped.sentence if stopped is not None else ""


BEGUN = (StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
"""States of a run that a process works on, or has left for people to answer."""

SKIPPED = "Skipped"
"""Name of the Completed state of a run whose campaign another run has."""


@dataclass(frozen=True)
class Order:
    """The parameters of a flow run."""

    config: str
    folder: Path
    campaign_dir: str | None
    overrides: Sequence[str]
    mode: Mode = "up_to"
    rounds: int | None = None

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> "Order":
        """From a run's parameters, any of which Prefect's pages let people omit or change."""
        return cls(
            config=parameters["config"],
            folder=Path(parameters.get("folder") or Path.cwd()).resolve(),
            campaign_dir=parameters.get("campaign_dir"),
            overrides=parameters.get("overrides") or [],
            mode=parameters.get("mode") or "up_to",
            rounds=parameters.get("rounds"),
        )

    def parameters(self) -> dict[str, object]:
        """The parameters as Prefect stores them."""
        return {**asdict(self), "folder": str(self.folder), "overrides": list(self.overrides)}

    def load(self) -> CampaignConfig:
        """The run's config, if its folder is the current one. Raises ConfigError."""
        named = Path(self.campaign_dir) if self.campaign_dir is not None else None
        return load_config(Path(self.config), self.overrides, named)

    def root(self, name: str) -> Path:
        """The campaign's folder."""
        return (self.folder / (self.campaign_dir or default_root(name))).resolve()


def find_runs(
    client: SyncPrefectClient, deployments: Sequence[UUID], states: Sequence[StateType]
) -> list[FlowRun]:
    """The runs of the deployments in one of `states`."""
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)), state=_in(states)
        )
    )


def find_campaign_runs(
    client: SyncPrefectClient,
    layout: Layout,
    states: Sequence[StateType] = BEGUN,
    *,
    but: UUID | None = None,
) -> list[FlowRun]:
    """The campaign's deployment runs in one of `states`, without those scheduled for later."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[campaign_tag(layout)]),
            state=_in(states),
            deployment_id=FlowRunFilterDeploymentId(is_null_=False),
            id=FlowRunFilterId(not_any_=[but]) if but is not None else None,
        )
    )
    now = datetime.now(UTC)
    return [run for run in runs if (run.next_scheduled_start_time or now) <= now]


def check_not_running(client: SyncPrefectClient, layout: Layout) -> None:
    """Raise BadInput if the campaign already has a run."""
    runs = find_campaign_runs(client, layout, (*BEGUN, StateType.SCHEDULED, StateType.PENDING))
    if runs:
        raise BadInput(
            f"the campaign in {layout.root} already has a run: {runs[0].name} is "
            f"{runs[0].state_name}",
            "Let it finish, or cancel it in Prefect's pages first.",
        )


def busy_message(other: FlowRun | FlowRunResponse) -> str:
    """The message of a run whose campaign has the run `other`."""
    return f"{NOTHING}: the campaign already has the run {other.name}, which is {other.state_name}"


def _in(states: Sequence[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
