"""Campaigns on a schedule: for each a deployment with a cron, which outlives every process.

A deployment of its own gives a campaign its own switch, its own form with its parameters filled in,
and its own runs in Prefect's pages.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.hashing import digest
from flows.campaign import CAMPAIGN_FLOW
from flows.prefect.runs import campaign_tag, tagged_campaign
from flows.worker.runs import BEGUN, Order, runs_of

_TAG = "ratchet:schedule"
_NEXT = 3


def checked(cron: str, timezone: str | None) -> CronSchedule:
    """Raises BadInput for a cron line or a timezone that is none, and for one without a day."""
    try:
        ZoneInfo(timezone or "UTC")
    except (ValueError, OSError, KeyError):
        raise BadInput(
            f"{timezone!r} is no timezone",
            "Give a name of the IANA database, such as Europe/Berlin.",
        ) from None
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone or "UTC")
    except ValueError:
        raise BadInput(
            f"{cron!r} is no cron line",
            'Give minute, hour, day, month and weekday, such as "0 2 * * 1": Mondays at two.',
        ) from None
    try:
        next_times(schedule, 1)
    except ValueError:  # croniter's: it looks for fifty years
        raise BadInput(
            f"{cron!r} names a time that never comes", "Look at its day and its month."
        ) from None
    return schedule


def next_times(schedule: CronSchedule, count: int = _NEXT) -> list[datetime]:
    """The next ticks as Prefect's scheduler has them, in the schedule's own timezone.

    Where clocks are put forward or back, no other way of counting agrees with it.
    """
    from prefect.server.schemas.schedules import CronSchedule as Scheduler

    scheduler = Scheduler(cron=schedule.cron, timezone=schedule.timezone)
    zone = ZoneInfo(schedule.timezone or "UTC")
    ticks = asyncio.run(scheduler.get_dates(count, datetime.now(UTC)))
    return [datetime.fromtimestamp(tick.timestamp(), zone) for tick in ticks]


def find_schedules(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """The deployments that `ratchet schedule` made, by name."""
    found = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[CAMPAIGN_FLOW])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG])),
    )
    return sorted(found, key=lambda made: made.name)


def put(client: SyncPrefectClient, name: str, order: Order, schedule: CronSchedule) -> str:
    """Make or replace the campaign's schedule; the name of its deployment."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.deployments.runner import RunnerDeployment

    from flows.worker.flow import campaign

    layout = Layout(order.root(name))
    called = _name(client, name, layout)
    RunnerDeployment.from_flow(
        campaign,
        name=called,
        description=f"Adds rounds to the campaign in {layout.root}.",
        tags=[_TAG, campaign_tag(layout)],
        parameters=order.parameters(),
        schedules=[DeploymentScheduleCreate(schedule=schedule, slug="cron")],
        paused=False,
    ).apply()
    return called


def find(client: SyncPrefectClient, name: str, layout: Layout | None) -> DeploymentResponse:
    """The schedule with that name, or that of the campaign in `layout`."""
    for made in find_schedules(client):
        if made.name == name or (layout is not None and tagged_campaign(made.tags) == layout):
            return made
    raise BadInput(
        f"{name} is on no schedule",
        "See `ratchet schedule --list` for the names of those that are.",
    )


def remove(client: SyncPrefectClient, made: DeploymentResponse) -> None:
    """Raises BadInput while a run of it is under way, which nobody would serve any more."""
    layout = tagged_campaign(made.tags)
    states = (*BEGUN, StateType.PENDING)
    runs = runs_of(client, layout, states) if layout is not None else []
    if any(run.deployment_id == made.id for run in runs):
        raise BadInput(
            f"the run {runs[0].name} of {made.name} is {runs[0].state_name}",
            "Let it end or cancel it first; --pause keeps new ones from starting.",
        )
    client.delete_deployment(made.id)


def described(made: DeploymentResponse) -> dict[str, Any]:
    """What `ratchet schedule --list` shows of one."""
    layout = tagged_campaign(made.tags)
    crons = [found for found in made.schedules if isinstance(found.schedule, CronSchedule)]
    on = not made.paused and any(found.active for found in crons)
    schedule = crons[0].schedule if crons else None
    assert schedule is None or isinstance(schedule, CronSchedule)
    return {
        "name": made.name,
        "cron": schedule.cron if schedule else "",
        "timezone": schedule.timezone if schedule else "",
        "next": next_times(schedule, 1)[0].isoformat(" ", "minutes")
        if schedule and on
        else "paused",
        "campaign": str(layout.root) if layout is not None else "",
    }


def _name(client: SyncPrefectClient, name: str, layout: Layout) -> str:
    """The campaign's name, told apart where a campaign elsewhere has it already, or the deployment
    that takes what `ratchet submit` hands over."""
    from flows.worker.flow import DEPLOYMENT

    others = [made.name for made in find_schedules(client) if tagged_campaign(made.tags) != layout]
    if name not in (*others, DEPLOYMENT):
        return name
    return f"{name}-{digest(str(layout.root))[:6]}"
