"""Arguments and options that several commands share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dpo_core.errors import BadInput

Campaign = Annotated[
    Path, typer.Argument(help="Folder of the campaign.", metavar="CAMPAIGN", show_default=False)
]
CampaignDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the campaign; default campaigns/<name>.", show_default=False),
]
Config = Annotated[
    Path, typer.Argument(help="YAML config of the campaign.", metavar="CONFIG", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key; repeatable."),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Name, or NAME:PORT, that browsers know the server by, as behind a reverse proxy; "
        "repeatable.",
    ),
]

_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?"
)


def names(allowed: Sequence[str] | None) -> tuple[str, ...]:
    """The names of --allow-host. Raises BadInput for what is none."""
    for name in allowed or ():
        if not _HOST.fullmatch(name):
            raise BadInput(
                f"--allow-host {name}: that is no name of a host",
                "Give it as browsers show it, without http:// and path: ratchet.example.com, or "
                "ratchet.example.com:8443.",
            )
    return tuple(allowed or ())
