"""The campaign: the base once, then round after round, each from the incumbent policy."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from dpo_core.atomic import write_atomic
from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.current import PromotedPolicy, StopReason
from dpo_core.campaign.facts import policy_name, read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.metric_columns import JSON_COLUMNS
from dpo_core.errors import WaitingForPeople
from dpo_core.gate.stop_rules import stop_rule
from dpo_core.scalars import record_scalars
from flows.config import KeepLast
from flows.config.attempts import rejected_rounds
from flows.gate.attempts import find_best_policy
from flows.gate.question import pending_question
from flows.notify import begin_telling, notify_decision
from flows.older.faults import report_older_rounds
from flows.people import close_last_queue
from flows.prefect.tasks import run_flow, step
from flows.round import prepare, run_round
from flows.round_state import EvaluatedPolicy, Policy, RoundContext, RoundRecord
from flows.session import Session
from flows.steps.gate import read_decision
from flows.steps.gate_pool import gate_pool
from flows.steps.prompts import prompts_used_up
from flows.steps.train import averaged_reference
from reporting.report import write_report
from reporting.summary import read_summary

CAMPAIGN_FLOW = "campaign"


def run_rounds(session: Session, *, with_prefect: bool) -> None:
    """Run all rounds of the config. Finished steps come from disk, so this also resumes."""
    prepare_base, play = (prepare_flow, round_flow) if with_prefect else (prepare, _run_round)
    report_older_rounds(
        session.layout, session.store.entries, session.config.rounds, session.progress.notice
    )
    begin_telling(session)
    beginning = session.at_round(0)
    held_out, base = prepare_base(beginning)
    was_certified = beginning.config.gate.false_promotions is not None
    if not was_certified and session.config.gate.false_promotions is not None:  # in a branch
        step(gate_pool)(session, held_out)
    session.store.settle(0)
    incumbent, earlier, stopped = base, list[RoundRecord](), None
    _remember(session, incumbent)
    for number in range(1, session.config.rounds + 1):
        stopped = find_stop_reason(session, number, earlier)
        if stopped is not None:
            break
        session.store.remember("stopped", None)
        session.progress.round_started()
        context = RoundContext(number, incumbent, base, held_out, earlier)
        incumbent, record = play(session.at_round(number), context)
        session.store.settle(number)
        earlier = [*earlier, record]
        incumbent = find_next_start(session, number, incumbent, base, earlier)
        _remember(session, incumbent)
        _prune(session, _find_needed(session, incumbent, base, earlier), earlier)
        _report_round(session, number)
        stopped = find_gate_stop(session, record)
    session.progress.flush_cached()
    record_stop(session, stopped)
    close_last_queue(session.layout, session.config)


def _run_round(session: Session, context: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """The round; whoever is asked about its policy finds an up-to-date report."""
    try:
        return run_round(session, context)
    except WaitingForPeople:
        if pending_question(session.layout) is not None:
            write_report(read_summary(session.layout.root), session.layout.report)
        raise


def prepare_flow(session: Session) -> tuple[Artifact, EvaluatedPolicy]:
    """`prepare` as a Prefect flow."""
    return run_flow(lambda: prepare(session), name="base", run_name=f"{session.config.name} base")


def round_flow(session: Session, context: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """`run_round` as a Prefect flow, which then publishes the round's numbers."""
    from prefect import tags

    from flows.prefect.runs import publish_round

    number = context.number

    def play() -> tuple[EvaluatedPolicy, RoundRecord]:
        try:
            result = run_round(session, context)
        except WaitingForPeople:
            if pending_question(session.layout) is not None:  # whoever decides needs the numbers
                publish_round(session, number)
            raise
        publish_round(session, number)
        return result

    with tags(f"round:{number}"):
        return run_flow(play, name="round", run_name=f"{session.config.name} round {number}")


def run_as_flow(session: Session) -> None:
    """`run_rounds` as a Prefect flow, named and tagged after the campaign."""
    from prefect import tags

    from flows.prefect.runs import campaign_tag

    with tags(campaign_tag(session.layout)):
        run_flow(
            lambda: run_rounds(session, with_prefect=True),
            name=CAMPAIGN_FLOW,
            run_name=session.config.name,
        )


def find_next_start(
    session: Session,
    number: int,
    by_gate: EvaluatedPolicy,
    base: EvaluatedPolicy,
    earlier: Sequence[RoundRecord],
) -> EvaluatedPolicy:
    """Where the round after `number` starts: `by_gate`, unless a person rolled back.

    `earlier` holds the rounds up to `number`.
    """
    to = session.store.rolled_back(number)
    if to is None:
        return by_gate
    evaluated = earlier[to - 1].candidate if to else base
    assert evaluated is not None, "a finished round has a candidate"
    session.progress.note(f"after round {number}: rolled back to {policy_name(to)}")
    return evaluated


def _find_needed(
    session: Session,
    incumbent: EvaluatedPolicy,
    base: EvaluatedPolicy,
    earlier: Sequence[RoundRecord],
) -> list[Policy]:
    """Policies that later rounds may need: the incumbent, the one that the gate may roll back to,
    and those whose answers are rejected by construction."""
    numbers = [n for n in rejected_rounds(session.config) if 0 < n <= len(earlier)]
    needed = [incumbent, *(earlier[number - 1].candidate for number in numbers)]
    if session.config.gate.last_resort == "rollback":
        needed.append(find_best_policy(base, earlier, session.store.rollbacks).evaluated)
    return [evaluated.policy for evaluated in needed if evaluated is not None]


def _remember(session: Session, incumbent: EvaluatedPolicy) -> None:
    """Record the incumbent for people and tools that look for the best weights."""
    policy = incumbent.policy
    folder = policy.folder.relative_to(session.layout.root)
    session.store.remember("promoted", PromotedPolicy(policy.round, policy.id, str(folder)))


def _prune(session: Session, needed: Sequence[Policy], earlier: Sequence[RoundRecord]) -> None:
    """Remove the weights, and their optimiser state, that `keep_policies` does not keep.

    What later rounds need stays: the `needed` policies, and the last reference unless it is reset.
    """
    keep, reset = session.config.keep_policies, session.config.training.reference == "reset"
    reference = None if reset else earlier[-1].reference
    kept = {policy.made_by.folder for policy in (*needed, reference) if policy is not None}
    rounds = _expendable(keep, len(earlier))
    candidates = [current_artifact(session.layout, number, "training") for number in rounds]
    if keep != "all":
        candidates += [averaged_reference(record.reference) for record in earlier]
        candidates += [training for record in earlier for training in record.rejected]
    for artifact in candidates:
        if artifact is not None and artifact.folder not in kept:
            session.store.prune(artifact, "policy")
            if artifact.path("optimiser").exists():
                session.store.prune(artifact, "optimiser")


def _report_round(session: Session, number: int) -> None:
    """Write metrics.parquet, send to trackers, and tell the decision."""
    _write_metrics(session.layout, number)
    session.tracking.send()
    session.progress.round_finished(number)
    notify_decision(session, number)


def _expendable(keep: Literal["all", "promoted"] | KeepLast, number: int) -> Sequence[int]:
    """Rounds whose weights may go, unless promoted, once round `number` is decided."""
    if isinstance(keep, KeepLast):
        return range(1, number - keep.last + 1)
    return [number] if keep == "promoted" else []


def _write_metrics(layout: Layout, rounds: int) -> None:
    """Write metrics.parquet and its events: one row per finished, valid round."""
    given = [
        row.given()
        for number in range(1, rounds + 1)
        if (row := read_round_metrics(layout, number)) is not None
    ]
    rows = [
        {**row, **{name: json.dumps(row[name]) for name in JSON_COLUMNS if name in row}}
        for row in given
    ]
    list(record_scalars(rows, layout.events("rounds"), index="round", group="rounds"))

    def write(path: Path) -> None:
        pd.DataFrame(rows).to_parquet(path, index=False)

    write_atomic(layout.metrics, write)


def find_stop_reason(
    session: Session, number: int, earlier: Sequence[RoundRecord]
) -> StopReason | None:
    """What forbids round `number`, if anything does."""
    if earlier and (stopped := find_gate_stop(session, earlier[-1])) is not None:
        return stopped
    sentence = prompts_used_up(session, number, earlier)
    if sentence is not None:
        return StopReason("prompts", sentence)
    if read_round_metrics(session.layout, number) is not None:
        return None  # a finished round costs nothing more
    rows = [record.row for record in earlier]
    return stop_rule(rows, session.config.stop, session.store.rollbacks)


def find_gate_stop(session: Session, record: RoundRecord) -> StopReason | None:
    """The gate's decision to stop, unless a person has rolled back since."""
    assert record.gate is not None, "a finished round has a gate"
    if session.store.rolled_back(record.gate.entry.round) is not None:
        return None
    decision = read_decision(record.gate)
    return StopReason("gate", decision.sentence) if decision.action == "stop" else None


def record_stop(session: Session, stopped: StopReason | None) -> None:
    """Record and report why the campaign ended early; None: it did not."""
    session.store.remember("stopped", stopped)
    if stopped is not None:
        session.progress.note(f"the campaign ends here: {stopped.sentence}")
