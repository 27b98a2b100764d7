"""`ratchet decide`: a person's yes or no to a policy that did not pass the gate."""

import shlex
from typing import Annotated

import typer

from flows.commands.options import Campaign


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
