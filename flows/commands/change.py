"""`ratchet branch`, `rollback`, `decide` and `replay`."""

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput
from flows.commands.options import Campaign, StoredCampaign, interruptible, set_option


def branch(
    campaign: StoredCampaign,
    from_round: Annotated[
        int,
        typer.Option(
            "--from-round",
            min=0,
            metavar="N",
            help="Last round that both campaigns share; 0: only the base policy.",
        ),
    ],
    overrides: Annotated[
        list[str] | None, set_option("Override a config key from round N + 1 on")
    ] = None,
    campaign_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the branch; default: beside the campaign, with the branch's name."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the branch; default: NAME-from-N.")
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files instead of hard-linking them.")
    ] = False,
) -> None:
    """Start a campaign that shares this one's rounds up to N.

    Shared rounds are neither copied nor run again: their files are hard links, so either campaign
    may be pruned or removed. See docs/branches.md.
    """
    from dpo_core.storage.mirror import is_mirror
    from flows.config import read_stored
    from flows.operations.branch import branch_campaign, branch_message

    changes = overrides or []
    if campaign_dir is None and is_mirror(campaign):
        raise BadInput(
            "a branch of a campaign that is given by its URL needs a folder",
            "Name a new one with --campaign-dir.",
        )
    copy = copy or is_mirror(campaign)  # it may be on another disk, and is no folder to share with
    link = shutil.copyfile if copy else os.link
    branched, origin = branch_campaign(campaign, from_round, changes, campaign_dir, name, link)
    for line in branch_message(campaign, branched, origin, read_stored(branched).rounds):
        print(line)


def rollback(
    campaign: Campaign,
    to_round: Annotated[
        int | None,
        typer.Option(
            "--to-round",
            min=0,
            metavar="N",
            help="Round whose policy becomes the promoted one; 0: the base.",
        ),
    ] = None,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Reason, recorded in the ledger.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last rollback.")] = False,
) -> None:
    """Start the next round from an earlier round's policy.

    Overrides the gate. Nothing is deleted: the ledger records who rolled back, when and why, status
    and report show it, and --undo restores the gate's decision.
    """
    from flows.operations.rollback import roll_back, undo_rollback

    if (to_round is None) != undo:
        raise BadInput(
            "give exactly one of --to-round and --undo",
            "Type ratchet rollback CAMPAIGN --to-round N, or ratchet rollback CAMPAIGN --undo.",
        )
    lines = undo_rollback(campaign, why) if to_round is None else roll_back(campaign, to_round, why)
    for line in lines:
        print(line)


def decide(
    campaign: Campaign,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote/--keep", help="Promote the candidate, or keep the last promoted policy."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason, for the ledger and the report.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides; default: you.")] = None,
) -> None:
    """Promote or reject a candidate that needs your decision.

    Campaigns ask with gate.otherwise: ask. The ledger records who decided and when. A campaign
    under `ratchet worker` or `ratchet run --wait` then continues by itself; otherwise type the same
    `ratchet run` again.
    """
    from dpo_core.campaign.ledger import current_user
    from flows.operations.decide import decide_campaign

    if promote is None:
        raise BadInput(
            "give either --promote or --keep",
            f"See the round's numbers first: {shlex.join(['ratchet', 'status', str(campaign)])}",
        )
    number, answer = decide_campaign(
        campaign, promote=promote, reason=reason, by=by or current_user()
    )
    outcome = "promoted" if answer.promote else "not promoted"
    print(f"round {number} {outcome} by {answer.by}; `ratchet run` continues from here")


def replay(
    campaign: Campaign,
    number: Annotated[
        int,
        typer.Option(
            "--round",
            min=0,
            metavar="N",
            help="Finished round; 0: the base policy and its answers.",
        ),
    ],
    scratch: Annotated[
        Path | None,
        typer.Option(help="New folder to compute in, kept afterwards; default: a temporary one."),
    ] = None,
) -> None:
    """Recompute a round and check that it is bit-identical.

    Reports each step. Exit code 0 if all are identical; otherwise 1, naming the first difference.
    The campaign is not modified. People are not asked again, and language models only where their
    replies were not kept.
    """
    from flows.operations.replay import replay as replay_round

    with interruptible(resumable=False):
        replayed = replay_round(campaign, number, scratch, Console(soft_wrap=True))
    if replayed.first_difference is not None:
        raise typer.Exit(1)
