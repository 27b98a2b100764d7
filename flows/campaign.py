"""The campaign: the base once, then round after round from the policy that the gate lets go on."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dpo_core.atomic import write_atomic
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.facts import policy_name, read_round_row
from dpo_core.campaign.layout import Layout
from dpo_core.errors import WaitingForPeople
from dpo_core.evaluation.round_metrics import JSON_COLUMNS
from dpo_core.gate.stop_rules import StopReason, stop_rule
from dpo_core.scalars import record_scalars
from flows.config import KeepLast, config_of_round
from flows.config.attempts import rejected_rounds
from flows.gate.attempts import best_so_far
from flows.gate.question import asked
from flows.notify import decided, tell_decision
from flows.older.rounds import tell_of_older
from flows.policy import EvaluatedPolicy, Policy, RoundContext, RoundRecord
from flows.prefect.tasks import run_flow, step
from flows.round import play, prepare, prepare_flow, round_flow
from flows.session import Session
from flows.steps.gate import decision_of
from flows.steps.gate_pool import gate_pool
from flows.steps.prompts import nothing_left
from flows.steps.train import averaged
from reporting.report import write_report
from reporting.summary import read_summary

CAMPAIGN_FLOW = "campaign"


def play_campaign(session: Session, *, with_prefect: bool) -> None:
    """All rounds of the config; finished steps come from disk, so this is also resume."""
    prepare_base, play_round = (prepare_flow, round_flow) if with_prefect else (prepare, _play)
    tell_of_older(
        session.layout, session.store.entries, session.config.rounds, session.progress.notice
    )
    beginning = _under(session, 0)
    held, base = prepare_base(beginning)
    asked = [each.config.gate.false_promotions is not None for each in (beginning, session)]
    if asked == [False, True]:  # a branch is certified, and its campaign was not
        step(gate_pool)(session, held)
    session.store.settle(0)
    goes_on, earlier, stopped = base, list[RoundRecord](), None
    _remember(session, goes_on)
    for number in range(1, session.config.rounds + 1):
        stopped = ends_before(session, number, earlier)
        if stopped is not None:
            break
        session.store.remember("stopped", None)
        session.progress.round_started()
        under, before = _under(session, number), decided(session.layout, number)
        goes_on, played = play_round(under, RoundContext(number, goes_on, base, held, earlier))
        session.store.settle(number)
        earlier = [*earlier, played]
        goes_on = after_people(session, number, goes_on, base, earlier)
        _remember(session, goes_on)
        _prune(session, _needed(session, goes_on, base, earlier), earlier)
        _write_metrics(session.layout, number)
        session.tracking.send()
        session.progress.round_finished(number)
        tell_decision(session, number, before)
        stopped = ended_by_gate(session, played)
    session.progress.flush_cached()
    end(session, stopped)


def _play(session: Session, start: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """The round; whoever is asked about its policy finds the report up to date."""
    try:
        return play(session, start)
    except WaitingForPeople:
        if asked(session.layout) is not None:
            write_report(read_summary(session.layout.root), session.layout.report)
        raise


def after_people(
    session: Session,
    number: int,
    by_gate: EvaluatedPolicy,
    base: EvaluatedPolicy,
    earlier: Sequence[RoundRecord],
) -> EvaluatedPolicy:
    """Where the round after `number` starts: `by_gate`, or where a person has said.

    earlier: the rounds up to `number`.
    """
    to = session.store.rolled_back(number)
    if to is None:
        return by_gate
    answered = earlier[to - 1].candidate if to else base
    assert answered is not None, "a round that was played has a candidate"
    session.progress.note(f"after round {number}: taken back to {policy_name(to)}")
    return answered


def _needed(
    session: Session,
    goes_on: EvaluatedPolicy,
    base: EvaluatedPolicy,
    earlier: Sequence[RoundRecord],
) -> list[Policy]:
    """Policies that later rounds may need."""
    back, answering = _may_come_back(session, base, earlier), _answer_again(session, earlier)
    return [goes_on.policy, *back, *answering]


def _may_come_back(
    session: Session, base: EvaluatedPolicy, earlier: Sequence[RoundRecord]
) -> list[Policy]:
    """The policy that the gate may roll back to."""
    rolls_back = session.config.gate.last_resort == "rollback"
    best = best_so_far(base, earlier, session.store.rollbacks)
    return [best.answered.policy] if rolls_back else []


def _answer_again(session: Session, earlier: Sequence[RoundRecord]) -> list[Policy]:
    """Policies whose answers later rounds reject."""
    rounds = (number for number in rejected_rounds(session.config) if number)
    found = (earlier[number - 1].candidate for number in rounds if number <= len(earlier))
    return [answered.policy for answered in found if answered is not None]


def run_as_flow(session: Session) -> None:
    """`play_campaign` as a Prefect flow, named and tagged after the campaign."""
    from prefect import tags

    from flows.prefect.runs import campaign_tag

    with tags(campaign_tag(session.layout)):
        run_flow(
            lambda: play_campaign(session, with_prefect=True),
            name=CAMPAIGN_FLOW,
            run_name=session.config.name,
        )


def _under(session: Session, number: int) -> Session:
    """The session under the config of that round, which in a branch may be the parent's."""
    return session.under(config_of_round(session.layout, session.config, number))


def _remember(session: Session, goes_on: EvaluatedPolicy) -> None:
    """Which policy stands promoted, for people and tools that look for the best weights."""
    policy = goes_on.policy
    folder = policy.folder.relative_to(session.layout.root)
    promoted_now = {"round": policy.round, "policy": policy.id, "path": str(folder)}
    session.store.remember("promoted", promoted_now)


def _prune(session: Session, needed: Sequence[Policy], played: Sequence[RoundRecord]) -> None:
    """Remove the weights that the config does not keep, with the optimiser state that belongs to
    them; what later rounds need stays: the policies that are `needed`, and the reference, from
    which the next one may be made unless it is reset."""
    keep, reset = session.config.keep_policies, session.config.training.reference == "reset"
    reference = None if reset else played[-1].reference
    kept = {policy.made_by.folder for policy in (*needed, reference) if policy is not None}
    rounds = _expendable(keep, len(played))
    made = [current_artifact(session.layout, number, "training") for number in rounds]
    if keep != "all":
        made += [averaged(earlier.reference) for earlier in played]
        made += [refused for earlier in played for refused in earlier.refused]
    for artifact in made:
        if artifact is not None and artifact.folder not in kept:
            session.store.prune(artifact, "policy")
            if artifact.path("optimiser").exists():
                session.store.prune(artifact, "optimiser")


def _expendable(keep: Literal["all", "promoted"] | KeepLast, number: int) -> Sequence[int]:
    """Rounds whose weights may go, if they are not promoted, once round `number` is decided."""
    if isinstance(keep, KeepLast):
        return range(1, number - keep.last + 1)
    return [number] if keep == "promoted" else []


def _write_metrics(layout: Layout, rounds: int) -> None:
    """metrics.parquet and its events: one row per round that is finished and valid."""
    found = (read_round_row(layout, number) for number in range(1, rounds + 1))
    rows: list[dict[str, Any]] = [
        {**row, **{name: json.dumps(row[name]) for name in JSON_COLUMNS if name in row}}
        for row in found
        if row
    ]
    list(record_scalars(rows, layout.events("rounds"), index="round", group="rounds"))
    frame = pd.DataFrame(rows)

    def write(path: Path) -> None:
        frame.to_parquet(path, index=False)

    write_atomic(layout.metrics, write)


def ends_before(session: Session, number: int, earlier: Sequence[RoundRecord]) -> StopReason | None:
    """What forbids round `number` after the rounds `earlier`, if anything does."""
    if earlier and (stopped := ended_by_gate(session, earlier[-1])) is not None:
        return stopped
    sentence = nothing_left(session, number, earlier)
    if sentence is not None:
        return StopReason("prompts", sentence)
    if read_round_row(session.layout, number) is not None:
        return None  # a round that is finished takes nothing more
    rows = [played.row for played in earlier]
    return stop_rule(rows, session.config.stop, session.store.rollbacks)


def ended_by_gate(session: Session, played: RoundRecord) -> StopReason | None:
    """None as well where a person has said since which policy goes on."""
    assert played.gate is not None, "every round that was played came to its gate"
    if session.store.rolled_back(played.gate.entry.round) is not None:
        return None
    decision = decision_of(played.gate)
    return StopReason("gate", decision.sentence) if decision.action == "stop" else None


def end(session: Session, stopped: StopReason | None) -> None:
    """Remember and say why the campaign ended early; None: it did not."""
    session.store.remember("stopped", asdict(stopped) if stopped is not None else None)
    if stopped is not None:
        session.progress.note(f"the campaign ends here: {stopped.sentence}")
