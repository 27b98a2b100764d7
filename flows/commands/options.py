"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
