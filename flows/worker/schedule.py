"""`ratchet schedule`: put a campaign on the clock, on whichever Prefect server there is."""

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
from flows.config.stored import check_folder
from flows.prefect.server import has_history, prefect_environment
from flows.worker.place import external_server, find_server, in_folder, only_worker
from flows.worker.serve import serving


@dataclass(frozen=True)
class Asked:
    """A campaign as it is named on the command line."""

    config: Path
    overrides: Sequence[str]
    campaign_dir: Path | None

    def loaded(self) -> tuple[CampaignConfig, Layout]:
        config = load_config(self.config, self.overrides, self.campaign_dir)
        root = self.campaign_dir or default_root(config.name)
        return config, Layout(root.resolve())


def add(
    asked: Asked, cron: str | None, timezone: str | None, rounds: int | None, folder: Path
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
        from flows.worker.registry import Entry, registry_of
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
            registry_of(client, folder).add(Entry.of("schedule", order, config))
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


def change(what: str, name: str, asked: Asked | None, folder: Path) -> None:
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
