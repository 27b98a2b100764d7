"""`ratchet branch`."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Campaign


def branch(
    campaign: Campaign,
    from_round: Annotated[
        int,
        typer.Option(
            "--from-round",
            min=0,
            metavar="N",
            help="Last round that both share; 0: the base policy alone.",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What the branch does differently from round N + 1 on; repeatable.",
        ),
    ] = None,
    campaign_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the branch; default beside the campaign, under the branch's name.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the branch; default NAME-from-N.", show_default=False),
    ] = None,
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Copy files that no hard link can share."),
    ] = False,
) -> None:
    """Start a new campaign that shares everything up to a round with this one.

    Nothing is copied and nothing of those rounds runs again: finished steps are hard links, so
    either campaign may be pruned or removed. See docs/branches.md.
    """
    from flows.config import read_stored
    from flows.operations.branch import branch_campaign, told

    changes = overrides or []
    link = shutil.copyfile if copy else os.link
    made, origin = branch_campaign(campaign, from_round, changes, campaign_dir, name, link)
    for line in told(campaign, made, origin, read_stored(made).rounds):
        print(line)
