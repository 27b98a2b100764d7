"""Schedules: one Prefect deployment with a cron line per campaign.

Its own deployment gives a campaign its own switch, form and runs in Prefect's pages.
"""

import asyncio
from datetime import UTC, datetime
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
from flows.worker.runs import BEGUN, Order, find_campaign_runs

_TAG = "ratchet:schedule"
_NEXT = 3


def parse_cron(cron: str, timezone: str | None) -> CronSchedule:
    """The schedule of a cron line. Raises BadInput if it is malformed or never occurs, or if the
    timezone is unknown."""
    try:
        ZoneInfo(timezone or "UTC")
    except (ValueError, OSError, KeyError):
        raise BadInput(
            f"{timezone!r} is not a timezone",
            "Give a name of the IANA database, such as Europe/Berlin.",
        ) from None
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone or "UTC")
    except ValueError:
        raise BadInput(
            f"{cron!r} is not a cron line",
            'Give minute, hour, day, month and weekday, such as "0 2 * * 1": Mondays at two.',
        ) from None
    try:
        next_times(schedule, 1)
    except ValueError:  # croniter searches fifty years
        raise BadInput(
            f"{cron!r} never occurs", "Check the day and the month of the cron line."
        ) from None
    return schedule


def next_times(schedule: CronSchedule, count: int = _NEXT) -> list[datetime]:
    """The next ticks in the schedule's timezone, computed by Prefect's own scheduler, so that they
    agree with it when clocks change."""
    from prefect.server.schemas.schedules import CronSchedule as Scheduler

    scheduler = Scheduler(cron=schedule.cron, timezone=schedule.timezone)
    zone = ZoneInfo(schedule.timezone or "UTC")
    ticks = asyncio.run(scheduler.get_dates(count, datetime.now(UTC)))
    return [datetime.fromtimestamp(tick.timestamp(), zone) for tick in ticks]


def find_schedules(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """The deployments that `ratchet schedule` created, by name."""
    deployments = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[CAMPAIGN_FLOW])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG])),
    )
    return sorted(deployments, key=lambda deployment: deployment.name)


def put_schedule(client: SyncPrefectClient, name: str, order: Order, schedule: CronSchedule) -> str:
    """Create or replace the campaign's schedule. Returns the name of its deployment."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.deployments.runner import RunnerDeployment

    from flows.worker.flow import campaign

    layout = Layout(order.root(name))
    name = _unique_name(client, name, layout)
    RunnerDeployment.from_flow(
        campaign,
        name=name,
        description=f"Adds rounds to the campaign in {layout.root}.",
        tags=[_TAG, campaign_tag(layout)],
        parameters=order.parameters(),
        schedules=[DeploymentScheduleCreate(schedule=schedule, slug="cron")],
        paused=False,
    ).apply()
    return name


def find_schedule(
    client: SyncPrefectClient, name: str, layout: Layout | None
) -> DeploymentResponse:
    """The schedule with that name, or of the campaign in `layout`. Raises BadInput if none."""
    for schedule in find_schedules(client):
        if name == schedule.name or (layout and tagged_campaign(schedule.tags) == layout):
            return schedule
    raise BadInput(
        f"{name} has no schedule", "See `ratchet schedule --list` for the names of all schedules."
    )


def remove_schedule(client: SyncPrefectClient, schedule: DeploymentResponse) -> None:
    """Remove a schedule. Raises BadInput while it has a run, which no worker would serve then."""
    layout = tagged_campaign(schedule.tags)
    states = (*BEGUN, StateType.PENDING)
    runs = find_campaign_runs(client, layout, states) if layout is not None else []
    for run in runs:
        if run.deployment_id == schedule.id:
            raise BadInput(
                f"the schedule {schedule.name} has a run: {run.name} is {run.state_name}",
                "Let it finish or cancel it first; --pause keeps new ones from starting.",
            )
    client.delete_deployment(schedule.id)


def format_schedule(deployment: DeploymentResponse) -> str:
    """One line of `ratchet schedule --list`."""
    layout = tagged_campaign(deployment.tags)
    crons = [cron for cron in deployment.schedules if isinstance(cron.schedule, CronSchedule)]
    times, tick = "no cron line", "paused"
    if crons and isinstance(schedule := crons[0].schedule, CronSchedule):
        times = f"{schedule.cron!r} ({schedule.timezone})"
        if not deployment.paused and any(cron.active for cron in crons):
            tick = next_times(schedule, 1)[0].isoformat(" ", "minutes")
    return f"{deployment.name}  {times}  next: {tick}  {layout.root if layout else ''}"


def _unique_name(client: SyncPrefectClient, name: str, layout: Layout) -> str:
    """The campaign's name, with a suffix if another campaign's schedule or the deployment of
    `ratchet submit` has it."""
    from flows.worker.flow import DEPLOYMENT

    schedules = find_schedules(client)
    others = [other.name for other in schedules if tagged_campaign(other.tags) != layout]
    if name not in (*others, DEPLOYMENT):
        return name
    return f"{name}-{digest(str(layout.root))[:6]}"
