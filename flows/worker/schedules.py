"""Campaigns on a schedule: for each a deployment with a cron, which outlives every process.

A deployment of its own gives a campaign its own switch, its own form with its parameters filled in,
and its own runs in Prefect's pages.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
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

from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput
from dpo_core.file_lock import holder
from dpo_core.hashing import digest
from dpo_core.text import counted
from flows.campaign import CAMPAIGN_FLOW
from flows.config import CampaignConfig, check_functions, load_config
from flows.prefect.runs import campaign_tag, tagged_campaign
from flows.prefect.server import has_history, prefect_environment
from flows.run import check_folder
from flows.worker.place import external_server, find_server, in_folder, only_worker
from flows.worker.runs import BEGUN, Order, runs_of
from flows.worker.serve import serving

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


@dataclass(frozen=True)
class NamedCampaign:
    """A campaign as it is named on the command line."""

    config: Path
    overrides: Sequence[str]
    campaign_dir: Path | None

    def loaded(self) -> tuple[CampaignConfig, Layout]:
        config = load_config(self.config, self.overrides, self.campaign_dir)
        root = self.campaign_dir or default_root(config.name)
        return config, Layout(root.resolve())


def add(
    asked: NamedCampaign, cron: str | None, timezone: str | None, rounds: int | None, folder: Path
) -> None:
    """Check the campaign as `ratchet run` does, and make its schedule."""
    config, layout = asked.loaded()
    check_functions(config)
    check_folder(layout)
    cron, timezone = cron or config.schedule.cron, timezone or config.schedule.timezone
    if cron is None:
        raise BadInput("a schedule needs a time", 'Give one: --cron "0 2 * * 1" (Mondays at two).')
    os.environ.update(prefect_environment(Layout(folder)))  # before Prefect is imported
    with _home(folder):
        from flows.prefect.runs import client_of
        from flows.worker.claim import who_serves
        from flows.worker.registry import Submission, registry_of
        from flows.worker.runs import Order
        from flows.worker.schedules import checked, next_times, put

        schedule = checked(cron, timezone)
    added = rounds or config.schedule.rounds
    with _prefect(folder) as (api, served):
        order = Order(
            config=str(asked.config.resolve()),
            folder=Path.cwd(),
            campaign_dir=str(layout.root),
            overrides=asked.overrides,
            mode="append",
            rounds=added,
        )
        with client_of(api) as client:
            registry_of(client, folder).add(Submission.of("schedule", order, config))
            name = put(client, config.name, order, schedule)
            elsewhere = who_serves(client) if external_server() is not None else None
    times = ", ".join(time.isoformat(" ", "minutes") for time in next_times(schedule))
    ticks = f"each tick of {schedule.cron!r} ({schedule.timezone})"
    print(f"{name}: {counted(added, 'round')} at {ticks} in {layout.root}")
    print(f"next: {times}")
    print(_what_next(folder, served, elsewhere))


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Prefect's home, whose lack it warns of when it is imported; bad input leaves none behind."""
    home = Layout(folder).prefect
    new = [path for path in (home, folder) if not path.exists()]
    home.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BadInput:
        for path in new:
            with suppress(OSError):  # something else came to lie there
                path.rmdir()
        raise


def show(folder: Path) -> None:
    """One line for each schedule."""
    if external_server() is None and not has_history(Layout(folder)):
        print("no campaign is on a schedule")
        return
    with _prefect(folder) as (api, _):
        from flows.prefect.runs import client_of
        from flows.worker.schedules import described, find_schedules

        with client_of(api) as client:
            rows = [described(made) for made in find_schedules(client)]
    for row in rows:
        print(
            f"{row['name']}  {row['cron']!r} ({row['timezone']})  next: {row['next']}  "
            f"{row['campaign']}"
        )
    if not rows:
        print("no campaign is on a schedule")


def change(what: str, name: str, asked: NamedCampaign | None, folder: Path) -> None:
    """`what`: remove, pause or resume. The schedule is that of a config or one by its name."""
    layout = asked.loaded()[1] if asked is not None else None
    with _prefect(folder) as (api, _):
        from flows.prefect.runs import client_of, tagged_campaign
        from flows.worker.registry import registry_of
        from flows.worker.schedules import find, remove

        with client_of(api) as client:
            made = find(client, name, layout)
            if what == "remove":
                remove(client, made)
                campaign = tagged_campaign(made.tags)
                if campaign is not None:
                    with suppress(BadInput):  # a worker out of reach keeps an idle entry
                        registry_of(client, folder).remove("schedule", campaign.root)
            elif what == "pause":
                client.pause_deployment(made.id)
            else:
                client.resume_deployment(made.id)
    print(f"{made.name}: {what}d")


@contextmanager
def _prefect(folder: Path) -> Iterator[tuple[str, bool]]:
    """The API of a Prefect server, and whether a worker is known to serve it: the environment's,
    that of the worker in `folder`, or one of our own that lives as long as this command."""
    if external_server() is not None or holder(Layout(folder).lock) is not None:
        yield find_server(folder), external_server() is None
        return
    layout = Layout(folder)
    with only_worker(layout), serving(layout) as (api, _):
        yield api, False


def _what_next(folder: Path, served: bool, elsewhere: Mapping[str, str] | None) -> str:
    if served:
        return "the worker that runs here serves it"
    if elsewhere is not None:
        return f"the worker in {elsewhere['folder']} on {elsewhere['host']} serves it while it runs"
    return f"it needs a worker at these times: ratchet worker{in_folder(folder)}"
