"""Why a campaign ends before its last round, looked at before each round."""

from collections.abc import Sequence
from dataclasses import asdict

from flows.gate.stop_rules import Stopped, stop_rule
from flows.policy import Played
from flows.session import Session
from flows.show.summary import read_round_row
from flows.steps.gate import decision_of
from flows.steps.prompts import nothing_left


def ends_before(session: Session, number: int, earlier: Sequence[Played]) -> Stopped | None:
    """What forbids round `number` after the rounds `earlier`, if anything does."""
    if earlier and (stopped := ended_by_gate(session, earlier[-1])) is not None:
        return stopped
    sentence = nothing_left(session, number, earlier)
    if sentence is not None:
        return Stopped("prompts", sentence)
    if read_round_row(session.layout, number) is not None:
        return None  # a round that is finished takes nothing more
    rows = [played.row for played in earlier]
    return stop_rule(rows, session.config.stop, session.store.rollbacks)


def ended_by_gate(session: Session, played: Played) -> Stopped | None:
    """None as well where a person has said since which policy goes on."""
    assert played.gate is not None, "every round that was played came to its gate"
    if session.store.rolled_back(played.gate.entry.round) is not None:
        return None
    decision = decision_of(played.gate)
    return Stopped("gate", decision.sentence) if decision.action == "stop" else None


def end(session: Session, stopped: Stopped | None) -> None:
    """Remember and say why the campaign ended early; None: it did not."""
    session.store.remember("stopped", asdict(stopped) if stopped is not None else None)
    if stopped is not None:
        session.progress.note(f"the campaign ends here: {stopped.sentence}")
