"""`ratchet worker` and `ratchet submit`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.interrupts import interruptible
from flows.commands.options import AllowHost, CampaignDir, Config, Overrides, names
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
    from flows.worker.submit import submit as hand_over

    hand_over(config, overrides or [], campaign_dir, folder)
