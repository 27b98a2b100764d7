"""The flow that a worker runs: a campaign, whose run is Suspended while people label.

Prefect can suspend neither subflows nor runs without a deployment, so this flow does it. Suspending
ends the process; the resumed run starts from the top and takes finished steps from disk. Prefect's
pages build their form from this flow's signature, and validate it.
"""

import os
from typing import Literal, NoReturn
from uuid import UUID, uuid4

from prefect import flow, get_run_logger, suspend_flow_run, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field
from rich.console import Console

from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import read_waiting
from dpo_core.config import Count
from dpo_core.errors import CampaignLocked, WaitingForPeople
from dpo_core.server_keys import report_link
from dpo_core.text import visible
from flows.campaign import CAMPAIGN_FLOW, run_rounds
from flows.config import CampaignConfig
from flows.gate.question import give_answer, pending_question
from flows.notify import notify_waiting
from flows.prefect.runs import campaign_tag, crash_stale_runs, replace_campaign_tag
from flows.run import open_campaign
from flows.session import Session
from flows.tracking.background import update_trackers
from flows.worker.runs import (
    NOTHING,
    SKIPPED,
    Mode,
    Order,
    busy_message,
    describe_outcome,
    find_campaign_runs,
    finished_rounds,
    plan_rounds,
)
from reporting.report import write_report
from reporting.summary import read_summary

DEPLOYMENT = "ratchet"


@flow(name=CAMPAIGN_FLOW, persist_result=False)
def campaign(
    config: str,
    folder: str | None = None,
    campaign_dir: str | None = None,
    overrides: list[str] | None = None,
    mode: Mode = "up_to",
    rounds: Count | None = None,
) -> State[None]:
    """Run a campaign of iterative online DPO, or resume it.

    Args:
        config: YAML config of the campaign.
        folder: Start of relative paths and place of user functions; default: the folder in which
            the worker was started.
        campaign_dir: Folder of the campaign; default: campaigns/<name>.
        overrides: Config keys to override, such as training.beta=0.2.
        mode: up_to: run until the campaign has this many rounds; append: add this many to the
            finished ones, the first of which may have begun.
        rounds: Number of rounds; default: the config's rounds, or its schedule.rounds.
    """
    order = Order.read(
        {
            "config": config,
            "folder": folder,
            "campaign_dir": campaign_dir,
            "overrides": overrides,
            "mode": mode,
            "rounds": rounds,
        }
    )
    os.chdir(order.folder)
    loaded = order.load()
    layout = Layout(order.root(loaded.name))
    run, before = _own_run(), finished_rounds(layout)
    planned = plan_rounds(order.mode, order.rounds, loaded, before, run.tags)
    with get_client(sync_client=True) as client:
        take_answer(client, run.id, layout)
        others = find_campaign_runs(client, layout, but=run.id)
        adds = loaded.name if mode == "up_to" else f"{loaded.name} adds {planned.label}"
        name = f"{loaded.name}, skipped" if others else adds
        tagged = {*replace_campaign_tag(run.tags, layout), *(() if others else (planned.tag,))}
        client.update_flow_run(run.id, name=name, tags=tagged)
    if others:
        return Completed(name=SKIPPED, message=busy_message(others[0]))
    waited = read_waiting(layout)
    try:
        _play(loaded.model_copy(update={"rounds": planned.last}), layout, run)
    except WaitingForPeople as waiting:
        notify_waiting(loaded, layout, waited, waiting.message, print)
        _suspend(layout, waiting.message)
    except CampaignLocked as locked:
        _rename(run, f"{loaded.name}, skipped")
        return Completed(name=SKIPPED, message=f"{NOTHING}: {locked.message}")
    write_report(read_summary(layout.root), layout.report)
    update_trackers(layout.root, print)
    if finished_rounds(layout) <= before < planned.first:
        _rename(run, f"{loaded.name}, {NOTHING}")
    return Completed(message=describe_outcome(layout, planned, before))


def _play(config: CampaignConfig, layout: Layout, run: FlowRun) -> None:
    with (
        tags(campaign_tag(layout)),
        open_campaign(config, layout.root, Console()) as (resolved, progress, uploads),
        Session.open(layout.root, resolved, progress, uploads, True) as session,
    ):
        crash_stale_runs(layout, but=run.id)
        run_rounds(session, with_prefect=True)


def _rename(run: FlowRun, name: str) -> None:
    """Replace a name with rounds, none of which was played."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, name=name)


def _own_run() -> FlowRun:
    """The run of this flow."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "called within the flow"
    return context.flow_run


def _suspend(layout: Layout, sentence: str) -> NoReturn:
    """End this process and leave the run Suspended until people have answered."""
    get_run_logger().info(sentence)
    print(sentence, flush=True)
    suspend(layout)
    raise AssertionError("Prefect ends a suspended run by an exception")


_FORMS = 100
_UNNAMED = "somebody in Prefect's pages"


class Verdict(RunInput):
    """The form in Prefect's pages."""

    answer: Literal["promote", "keep"] = Field(
        title="Promote the round's policy?",
        description="promote: the next round starts from it; keep: keep the last promoted policy.",
    )
    reason: str = Field("", title="Reason", description="Recorded in the ledger and the report.")
    name: str = Field("", title="Your name", description="Recorded in the ledger and the report.")


def suspend(layout: Layout) -> None:
    """Suspend the run of this flow, with a form if the gate asks. Prefect ends it by an exception.

    Each wait needs its own key: with the key of an earlier one, the run would not suspend again.
    """
    waiting = pending_question(layout)
    if waiting is None:
        suspend_flow_run(timeout=None, key=uuid4().hex)
        return
    row = read_round_metrics(layout, waiting.round)
    decision = visible(row.decision) if row is not None else ""
    described = f"Round {waiting.round}: {decision}.\n\n{report_link(layout)}"
    form = Verdict.with_initial_data(description=described)
    key = f"{waiting.question}-{uuid4().hex}"
    suspend_flow_run(wait_for_input=form, timeout=None, key=key)


def take_answer(client: SyncPrefectClient, run: UUID, layout: Layout) -> None:
    """Record the answer from the form, if there is one, to the campaign's open question."""
    waiting = pending_question(layout)
    if waiting is None or waiting.question is None:
        return
    prefix = f"suspended-{waiting.question}-"
    for form in client.filter_flow_run_input(run, prefix, _FORMS, set()):
        if form.key.endswith("-response"):
            verdict = Verdict.load_from_flow_run_input(form)
            give_answer(
                layout,
                waiting.question,
                promote=verdict.answer == "promote",
                reason=verdict.reason.strip(),
                by=verdict.name.strip() or _UNNAMED,
            )
