"""`ratchet branch`."""

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput
from flows.commands.options import Campaign, interruptible


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
    from flows.operations.branch import branch_campaign, branch_message

    changes = overrides or []
    link = shutil.copyfile if copy else os.link
    made, origin = branch_campaign(campaign, from_round, changes, campaign_dir, name, link)
    for line in branch_message(campaign, made, origin, read_stored(made).rounds):
        print(line)


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
    lines = undo_rollback(campaign, why) if to_round is None else roll_back(campaign, to_round, why)
    for line in lines:
        print(line)


def decide(
    campaign: Campaign,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote/--keep",
            help="Yes, the policy goes on; or no, the last promoted one stays.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why; stands in the ledger and the report.", show_default=False)
    ] = "",
    by: Annotated[
        str | None, typer.Option(help="Who says so; default: you.", show_default=False)
    ] = None,
) -> None:
    """Answer a campaign that waits for a yes or no (gate.otherwise ask).

    The answer stands in the campaign's ledger with who gave it and when. A campaign under `ratchet
    worker` or `ratchet run --wait` then goes on by itself; else type the same `ratchet run` again.
    """
    from dpo_core.campaign.ledger import current_user
    from dpo_core.errors import BadInput
    from flows.operations.decide import decide_campaign

    if promote is None:
        raise BadInput(
            "say which: --promote or --keep",
            f"See the round's numbers first: {shlex.join(['ratchet', 'status', str(campaign)])}",
        )
    number, answer = decide_campaign(
        campaign, promote=promote, reason=reason, by=by or current_user()
    )
    word = "is promoted" if answer.promote else "is not promoted"
    print(f"round {number} {word}, says {answer.by}; `ratchet run` goes on from here")


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
    from flows.operations.replay import replay as replay_round

    with interruptible(resumable=False):
        replayed = replay_round(campaign, number, scratch, Console(soft_wrap=True))
    if replayed.first_difference is not None:
        raise typer.Exit(1)
