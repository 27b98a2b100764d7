"""`ratchet replay`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.interrupts import interruptible
from flows.commands.options import Campaign


def replay(
    campaign: Campaign,
    number: Annotated[
        int,
        typer.Option(
            "--round",
            min=0,
            metavar="N",
            help="Finished round; 0: the base and its answers.",
            show_default=False,
        ),
    ],
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="New folder to compute in, which is kept; default a temporary one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compute a round again from the ledger, and say step by step whether it is bit-equal.

    Exit code 0 when it is, 1 when not, with the first difference named. The campaign is only read:
    people are not asked again, and language models only where their replies were not kept.
    """
    from flows.operations.replay.round import replay as replay_round

    with interruptible(resumable=False):
        replayed = replay_round(campaign, number, scratch, Console(soft_wrap=True))
    if replayed.first_difference is not None:
        raise typer.Exit(1)
