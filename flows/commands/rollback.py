"""`ratchet rollback`."""

from typing import Annotated

import typer

from dpo_core.errors import BadInput
from flows.commands.options import Campaign


def rollback(
    campaign: Campaign,
    to_round: Annotated[
        int | None,
        typer.Option(
            "--to-round",
            min=0,
            metavar="N",
            help="Round whose policy goes on; 0: the base.",
            show_default=False,
        ),
    ] = None,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="The reason, for the ledger.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the last rollback back.")] = False,
) -> None:
    """Let the next round start from an earlier round's policy, whatever the gate decided.

    Nothing is deleted: the ledger says who rolled back, when and why, status and report show it,
    and --undo lets the gate's word stand again.
    """
    from flows.operations.rollback import roll_back, undo_rollback

    if (to_round is None) != undo:
        raise BadInput(
            "say either where to go back to, or --undo",
            "ratchet rollback CAMPAIGN --to-round N, or --undo.",
        )
    told = undo_rollback(campaign, why) if to_round is None else roll_back(campaign, to_round, why)
    for line in told:
        print(line)
