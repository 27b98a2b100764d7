"""The gate's question in Prefect's pages: a form on the suspended run, and what was filled in.

Prefect keeps the form with the run, checks what is filled in against it, and schedules the run.
"""

from typing import Literal
from uuid import UUID, uuid4

from prefect import suspend_flow_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.input import RunInput
from pydantic import Field

from dpo_core.campaign.facts import read_round_row
from dpo_core.campaign.layout import Layout
from dpo_core.text import visible
from flows.gate.question import asked, give_answer
from flows.prefect.report_address import report_link

_FORMS = 100
_UNNAMED = "somebody in Prefect's pages"


class Verdict(RunInput):
    """The form; its texts are what Prefect shows."""

    answer: Literal["promote", "keep"] = Field(
        title="Promote the round's policy?",
        description="promote: the next round starts from it; keep: the last promoted one stays.",
    )
    reason: str = Field("", title="Why", description="Stands in the ledger and in the report.")
    name: str = Field("", title="Your name", description="Stands there too.")


def suspend(layout: Layout) -> None:
    """Suspend the run of this flow, with a form where the gate asks; ends by an exception.

    Without a key of its own, a later wait of the same run would pass for this one and not suspend.
    """
    waiting = asked(layout)
    if waiting is None:
        suspend_flow_run(timeout=None, key=uuid4().hex)
        return
    decision = visible(str((read_round_row(layout, waiting.round) or {}).get("decision", "")))
    described = f"Round {waiting.round}: {decision}.\n\n{report_link(layout)}"
    form = Verdict.with_initial_data(description=described)
    key = f"{waiting.question}-{uuid4().hex}"
    suspend_flow_run(wait_for_input=form, timeout=None, key=key)


def take_answer(client: SyncPrefectClient, run: UUID, layout: Layout) -> None:
    """Take over what was filled in for what the campaign asks, if anything was."""
    waiting = asked(layout)
    if waiting is None or waiting.question is None:
        return
    prefix = f"suspended-{waiting.question}-"
    for found in client.filter_flow_run_input(run, prefix, _FORMS, set()):
        if found.key.endswith("-response"):
            verdict = Verdict.load_from_flow_run_input(found)
            give_answer(
                layout,
                waiting.question,
                promote=verdict.answer == "promote",
                reason=verdict.reason.strip(),
                by=verdict.name.strip() or _UNNAMED,
            )
