"""`ratchet submit` and `ratchet schedule`: hand campaigns to a worker.

Imports Prefect only after its settings are in the environment.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput
from dpo_core.file_lock import holder
from dpo_core.text import counted
from flows.config import CampaignConfig, check_functions, load_config
from flows.prefect.server import has_history, prefect_environment
from flows.run import check_folder
from flows.worker.folder import external_server, find_server, folder_option, hold_folder
from flows.worker.serve import serving


def submit(config: Path, overrides: Sequence[str], campaign_dir: Path | None, folder: Path) -> None:
    """Check the campaign as `ratchet run` does, and create a run for the worker to start."""
    loaded = load_config(config, overrides, campaign_dir)
    check_functions(loaded)
    root = campaign_dir or default_root(loaded.name)
    check_folder(Layout(root))
    api = find_server(folder)
    from prefect.exceptions import ObjectNotFound

    from flows.campaign import CAMPAIGN_FLOW
    from flows.prefect.runs import campaign_tag, client_of
    from flows.worker.flow import DEPLOYMENT
    from flows.worker.registry import Submission, registry_of
    from flows.worker.runs import Order, check_not_running

    order = Order(str(config.resolve()), Path.cwd(), str(root.resolve()), overrides)
    with client_of(api) as client:
        try:
            deployment = client.read_deployment_by_name(f"{CAMPAIGN_FLOW}/{DEPLOYMENT}")
        except ObjectNotFound:
            raise BadInput(
                f"the Prefect server at {api} has no deployment {CAMPAIGN_FLOW}/{DEPLOYMENT}, "
                "which a worker creates when it starts",
                "Start or restart a worker there.",
            ) from None
        registry_of(client, folder).add(Submission.of("submit", order, loaded))
        check_not_running(client, Layout(root))
        run = client.create_flow_run_from_deployment(
            deployment.id,
            name=loaded.name,
            tags=[campaign_tag(Layout(root))],
            parameters=order.parameters(),
        )
    pages = api.removesuffix("/api")
    print(f"campaign {loaded.name} in {root} submitted: {pages}/runs/flow-run/{run.id}")


@dataclass(frozen=True)
class NamedCampaign:
    """A campaign as named on the command line."""

    config: Path
    overrides: Sequence[str]
    campaign_dir: Path | None

    def load(self) -> tuple[CampaignConfig, Layout]:
        config = load_config(self.config, self.overrides, self.campaign_dir)
        root = self.campaign_dir or default_root(config.name)
        return config, Layout(root.resolve())


def add_schedule(
    asked: NamedCampaign, cron: str | None, timezone: str | None, rounds: int | None, folder: Path
) -> None:
    """Check the campaign as `ratchet run` does, and create its schedule."""
    config, layout = asked.load()
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
        from flows.worker.schedules import next_times, parse_cron, put_schedule

        schedule = parse_cron(cron, timezone)
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
            name = put_schedule(client, config.name, order, schedule)
            elsewhere = who_serves(client) if external_server() is not None else None
    times = ", ".join(time.isoformat(" ", "minutes") for time in next_times(schedule))
    ticks = f"each tick of {schedule.cron!r} ({schedule.timezone})"
    print(f"{name}: {counted(added, 'round')} at {ticks} in {layout.root}")
    print(f"next: {times}")
    print(_what_next(folder, served, elsewhere))


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Create Prefect's home, without which its import warns; remove it again after bad input."""
    home = Layout(folder).prefect
    new = [path for path in (home, folder) if not path.exists()]
    home.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BadInput:
        for path in new:
            with suppress(OSError):  # not empty any more
                path.rmdir()
        raise


def show_schedules(folder: Path) -> None:
    """Print one line for each schedule."""
    lines = []
    if external_server() is not None or has_history(Layout(folder)):
        with _prefect(folder) as (api, _):
            from flows.prefect.runs import client_of
            from flows.worker.schedules import find_schedules, format_schedule

            with client_of(api) as client:
                lines = [format_schedule(schedule) for schedule in find_schedules(client)]
    print("\n".join(lines) or "no schedules")


def change_schedule(what: str, name: str, asked: NamedCampaign | None, folder: Path) -> None:
    """`what`: remove, pause or resume the schedule of a config, or the one with that name."""
    layout = asked.load()[1] if asked is not None else None
    with _prefect(folder) as (api, _):
        from flows.prefect.runs import client_of, tagged_campaign
        from flows.worker.registry import registry_of
        from flows.worker.schedules import find_schedule, remove_schedule

        with client_of(api) as client:
            schedule = find_schedule(client, name, layout)
            if what == "remove":
                remove_schedule(client, schedule)
                campaign = tagged_campaign(schedule.tags)
                if campaign is not None:
                    with suppress(BadInput):  # a worker out of reach keeps an idle entry
                        registry_of(client, folder).remove("schedule", campaign.root)
            elif what == "pause":
                client.pause_deployment(schedule.id)
            else:
                client.resume_deployment(schedule.id)
    print(f"{schedule.name}: {what}d")


@contextmanager
def _prefect(folder: Path) -> Iterator[tuple[str, bool]]:
    """(API of a Prefect server, whether the worker in `folder` serves it).

    The environment's server, the worker's, or a new one for the duration of this command.
    """
    if external_server() is not None or holder(Layout(folder).lock) is not None:
        yield find_server(folder), external_server() is None
        return
    layout = Layout(folder)
    with hold_folder(layout), serving(layout) as (api, _):
        yield api, False


def _what_next(folder: Path, served: bool, elsewhere: Mapping[str, str] | None) -> str:
    if served:
        return "the worker that runs here will run it"
    if elsewhere is not None:
        return f"the worker in {elsewhere['folder']} on {elsewhere['host']} will run it"
    return f"it needs a worker at these times: ratchet worker{folder_option(folder)}"
