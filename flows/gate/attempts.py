"""A round may be tried more than once, and may begin at a policy that is not the last one."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.config import changes_of, under_attempt
from flows.gate.decision import Best, best_of
from flows.policy import Answered, Played
from flows.session import Session


@dataclass(frozen=True)
class BestSoFar:
    """Where a rollback goes."""

    best: Best
    answered: Answered


def best_so_far(base: Answered, earlier: Sequence[Played]) -> BestSoFar:
    """The best of the base and the promoted rounds, by its win rate against the base."""
    promoted = {
        played.gate.entry.round: (played.gate.entry.facts["against_base_low"], played.candidate)
        for played in earlier
        if played.gate is not None and played.gate.entry.facts["promoted"]
    }
    best = best_of([(number, low) for number, (low, _) in promoted.items()])
    answered = promoted[best.round][1] if best.round else base
    assert answered is not None, "a round with a gate has a candidate"
    return BestSoFar(best, answered)


def under_changes(session: Session, number: int, attempt: int) -> Session:
    """The session under the config of this attempt."""
    if attempt > 1:
        tries = len(session.config.gate.retries) + 1
        changes = ", ".join(changes_of(session.config, attempt))
        session.progress.note(f"round {number}: attempt {attempt} of {tries} under {changes}")
    return session.under(under_attempt(session.config, attempt))


def was_replaced(session: Session, number: int, attempt: int) -> bool:
    """Whether a later attempt came to the gate after this one, so that this one is history."""
    gates = session.store.finished(number, "gate")
    return any(entry.facts["gate"]["attempt"] > attempt for entry in gates if "gate" in entry.facts)
