"""`ratchet worker` and `ratchet submit`."""

from pathlib import Path
from typing import Annotated

import typer

from dpo_core.errors import BadInput
from flows.commands.options import AllowHost, CampaignDir, Config, Overrides, interruptible, names
from flows.worker.place import DEFAULT_FOLDER

Folder = Annotated[
    Path, typer.Option("--dir", help="Folder of the worker: its Prefect database and logs.")
]


def worker(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of Prefect's pages on the loopback address; 0: a free one."
        ),
    ] = 4200,
    at_once: Annotated[
        int, typer.Option(min=1, help="Campaigns that run at the same time; each may want the GPU.")
    ] = 1,
    allow_host: AllowHost = None,
    allow_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable that any run may use, beyond those that submitted configs "
            "name; repeatable.",
        ),
    ] = None,
) -> None:
    """Run the campaigns that `ratchet submit` hands over; none holds a process while people label.

    A campaign that needs people is Suspended in Prefect and goes on within a minute of their
    answers. With PREFECT_API_URL set, the worker serves that Prefect server instead of its own.
    """
    from flows.worker.serve import serve_campaigns

    with interruptible(resumable=False):
        serve_campaigns(folder, port, at_once, names(allow_host), allow_env or [])


def submit(
    config: Config,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Hand a campaign over to the worker of this machine, to be run from this folder."""
    from flows.worker.place import submit as hand_over

    hand_over(config, overrides or [], campaign_dir, folder)


def schedule(
    config: Annotated[
        str | None,
        typer.Argument(
            help="YAML config of the campaign; to change one, also a name that --list shows.",
            metavar="CONFIG",
            show_default=False,
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(help='When: "0 2 * * 1" is Mondays at two. Default: the config\'s.'),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of the times, such as Europe/Berlin; default UTC.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds that each tick adds; default: the config's.")
    ] = None,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what is on a schedule.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it off its schedule.")] = False,
    pause: Annotated[
        bool, typer.Option("--pause", help="Let no tick start until --resume.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let ticks start again.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Put a campaign on the clock: each tick adds rounds to it, carried out by `ratchet worker`.

    The schedule is a deployment in Prefect, on the server that PREFECT_API_URL names or on that of
    the worker's folder. A tick that finds the campaign running, or nothing to do, says so and ends.
    """
    from flows.worker.schedules import NamedCampaign, add, change, show

    wished = [name for name, on in _changes(remove, pause, resume).items() if on]
    if len(wished) + list_ > 1:
        raise BadInput(
            "--list, --remove, --pause and --resume exclude each other", "Give one of them."
        )
    with interruptible(resumable=False):
        if list_:
            show(folder)
            return
        if config is None:
            raise BadInput(
                "no campaign is named", "Give its config, or --list to see what there is."
            )
        is_file = Path(config).is_file()
        asked = NamedCampaign(Path(config), overrides or [], campaign_dir)
        if wished:
            change(wished[0], config, asked if is_file else None, folder)
        else:
            add(asked, cron, timezone, rounds, folder)


def _changes(remove: bool, pause: bool, resume: bool) -> dict[str, bool]:
    return {"remove": remove, "pause": pause, "resume": resume}
