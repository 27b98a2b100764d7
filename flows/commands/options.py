"""Arguments and options shared by several commands."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from dpo_core.errors import BadInput


def find_campaign(text: str) -> Path:
    """The folder of a campaign; of one that is given by its storage.url, a folder that shows it."""
    if "://" not in text:
        return Path(text)
    from dpo_core.storage.mirror import mirror

    return mirror(text)


Campaign = Annotated[Path, typer.Argument(help="Folder of the campaign.", metavar="CAMPAIGN")]
StoredCampaign = Annotated[
    Path,
    typer.Argument(
        help="Folder of the campaign, or its storage.url.", metavar="CAMPAIGN", parser=find_campaign
    ),
]
CampaignDir = Annotated[
    Path | None, typer.Option(help="Folder of the campaign; default: campaigns/<name>.")
]
Config = Annotated[Path, typer.Argument(help="YAML config of the campaign.", metavar="CONFIG")]


def set_option(which: str) -> Any:
    """The option --set for the keys that the help names."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"{which}; repeatable.")


def licence_option(default: str) -> Any:
    """The option --licence; what holds without it."""
    names = ("--licence", "--license")
    text = f"Licence for the card, by its hub id, such as cc-by-4.0{default}."
    return typer.Option(*names, metavar="ID", help=text)


Overrides = Annotated[
    list[str] | None, set_option("Override a config key, such as training.beta=0.2")
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port on the loopback address; 0: a free one.")
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Host NAME or NAME:PORT under which browsers reach the server, as behind a reverse "
        "proxy; repeatable.",
    ),
]

_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?"
)


def check_hosts(allowed: Sequence[str] | None) -> tuple[str, ...]:
    """The hosts of --allow-host. Raises BadInput for an invalid one."""
    for name in allowed or ():
        if not _HOST.fullmatch(name):
            raise BadInput(
                f"--allow-host {name} is not a host name",
                "Give it as browsers show it, without http:// and path: ratchet.example.com or "
                "ratchet.example.com:8443.",
            )
    return tuple(allowed or ())


EXIT_INTERRUPTED = 130
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(*, resumable: bool = True) -> Iterator[None]:
    """Close children and locks on Ctrl-C and SIGTERM, then print how to continue.

    Handles SIGINT even if it was ignored, as by a shell for jobs started with `&`. A command that
    is not resumable normally ends this way, so it prints nothing and exits with 0.
    """
    before = {number: signal.signal(number, _interrupt) for number in _INTERRUPTS}
    try:
        yield
    except KeyboardInterrupt:
        if resumable:
            again = shlex.join(["ratchet", *sys.argv[1:]])
            note = f"\nInterrupted; finished steps are kept. Continue with: {again}"
            print(note, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads of libraries may block, as Prefect's do when their server is gone.
        os._exit(EXIT_INTERRUPTED if resumable else 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
