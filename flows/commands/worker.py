"""`ratchet worker`, `submit` and `schedule`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpo_core.campaign.layout import CAMPAIGNS, Layout
from dpo_core.errors import BadInput
from flows.commands.options import (
    AllowHost,
    Campaign,
    CampaignDir,
    Config,
    Overrides,
    Port,
    check_hosts,
    find_campaign,
    interruptible,
)
from flows.worker.folder import DEFAULT_FOLDER

AtOnce = Annotated[
    int, typer.Option(min=1, help="Campaigns that run concurrently; each may use the GPU.")
]
Folder = Annotated[
    Path, typer.Option("--dir", help="Folder with the worker's Prefect database and logs.")
]


def worker(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of Prefect's pages on the loopback address; 0: a free one."
        ),
    ] = 4200,
    at_once: AtOnce = 1,
    allow_host: AllowHost = None,
    allow_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that any run may read, besides those in submitted configs; "
            "repeatable.",
        ),
    ] = None,
) -> None:
    """Run submitted and scheduled campaigns.

    A campaign that needs people is Suspended in Prefect without holding a process, and continues
    within a minute of their answers. With PREFECT_API_URL set, the worker uses that Prefect server
    instead of its own.
    """
    from flows.worker.serve import serve_campaigns

    with interruptible(resumable=False):
        serve_campaigns(folder, port, at_once, check_hosts(allow_host), allow_env or [])


def up(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of campaigns, or with campaigns in them; default: campaigns.",
            metavar="[FOLDER…]",
            parser=find_campaign,
        ),
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
    port: Port = 4200,
    at_once: AtOnce = 1,
    allow_host: AllowHost = None,
) -> None:
    """Start everything: the console, the worker, and the label server when people are asked.

    Prints one address. Its page shows all campaigns and what waits for you, and starts, steers and
    compares them. Ctrl-C stops everything; submitted campaigns continue at the next start.
    """
    from flows.worker.serve import serve_campaigns

    shown = tuple(place.resolve() for place in places or [CAMPAIGNS])
    with interruptible(resumable=False):
        serve_campaigns(folder, port, at_once, check_hosts(allow_host), console=shown)


def pause(campaign: Campaign, folder: Folder = DEFAULT_FOLDER) -> None:
    """Pause a campaign that the worker runs; it stays paused until it is resumed."""
    _steer(campaign, "pause", folder)


def resume(campaign: Campaign, folder: Folder = DEFAULT_FOLDER) -> None:
    """Resume a campaign: its paused run, or a new one with the config that it has."""
    _steer(campaign, "resume", folder)


def cancel(campaign: Campaign, folder: Folder = DEFAULT_FOLDER) -> None:
    """Cancel the worker's run of a campaign; finished steps are kept."""
    _steer(campaign, "cancel", folder)


def _steer(campaign: Path, wish: Literal["pause", "resume", "cancel"], folder: Path) -> None:
    from flows.config import check_is_campaign
    from flows.worker.folder import find_server

    check_is_campaign(Layout(campaign))
    api = find_server(folder)
    from flows.worker.steer import steer_run

    done = steer_run(api, campaign, wish)
    if done is not None:
        print(done)
        return
    from flows.worker.submit import submit as submit_campaign

    submit_campaign(Layout(campaign).config, [], campaign, folder)


def submit(
    config: Config,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Submit a campaign to this machine's worker.

    The worker runs it from the current folder.
    """
    from flows.worker.submit import submit as submit_campaign

    submit_campaign(config, overrides or [], campaign_dir, folder)


def schedule(
    config: Annotated[
        str | None,
        typer.Argument(
            help="YAML config of the campaign; to change a schedule, also its name in --list.",
            metavar="CONFIG",
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(help='Cron line: "0 2 * * 1" is Mondays at two. Default: the config\'s.'),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Timezone of the cron line; default: the config's, or UTC.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds that each tick adds; default: the config's.")
    ] = None,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    list_: Annotated[bool, typer.Option("--list", help="List all schedules.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the schedule.")] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Pause the schedule until --resume.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a paused schedule.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Add rounds to a campaign on a schedule, run by `ratchet worker`.

    The schedule is a Prefect deployment, on the server in PREFECT_API_URL or on that of the
    worker's folder. A tick that finds the campaign running or finished is skipped.
    """
    from flows.worker.submit import NamedCampaign, add_schedule, change_schedule, show_schedules

    options = {"remove": remove, "pause": pause, "resume": resume}
    changes = [name for name, given in options.items() if given]
    if len(changes) + list_ > 1:
        raise BadInput(
            "--list, --remove, --pause and --resume exclude each other", "Give one of them."
        )
    with interruptible(resumable=False):
        if list_:
            show_schedules(folder)
            return
        if config is None:
            raise BadInput("no campaign given", "Give its config, or --list to see the schedules.")
        is_file = Path(config).is_file()
        asked = NamedCampaign(Path(config), overrides or [], campaign_dir)
        if changes:
            change_schedule(changes[0], config, asked if is_file else None, folder)
        else:
            add_schedule(asked, cron, timezone, rounds, folder)
