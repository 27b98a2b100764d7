"""A round may be tried more than once, and may begin at a policy that is not the last one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.rollbacks import Rollback, chosen, left_behind
from dpo_core.gate.decision import Best, best_of
from flows.config import changes_of, under_attempt
from flows.round_state import EvaluatedPolicy, RoundRecord
from flows.session import Session


@dataclass(frozen=True)
class BestSoFar:
    """Where a rollback goes."""

    best: Best
    answered: EvaluatedPolicy


def find_best(
    base: EvaluatedPolicy, earlier: Sequence[RoundRecord], people: Sequence[Rollback] = ()
) -> BestSoFar:
    """The best, by its win rate against the base, of the base and the rounds that stand: those that
    were promoted and that no person has gone back before, and those that a person went back to.

    Where one of them has a length-controlled win rate that is extrapolated, the plain ones decide.
    people: their rollbacks.
    """
    last = len(earlier)
    gone, taken = left_behind(people, last), chosen(people, last)
    standing = {
        number: (gate.entry.facts, played.candidate)
        for number, played in enumerate(earlier, 1)
        if (gate := played.gate) is not None
        and (number in taken or (gate.entry.facts["promoted"] and number not in gone))
    }
    plain = any(facts.get("against_base_extrapolated") for facts, _ in standing.values())
    best = best_of([(number, _low(facts, plain)) for number, (facts, _) in standing.items()])
    answered = standing[best.round][1] if best.round else base
    assert answered is not None, "a round with a gate has a candidate"
    return BestSoFar(best, answered)


def _low(facts: Mapping[str, Any], plain: bool) -> float | None:
    low: float | None = facts["against_base_low"]
    return facts.get("against_base_low_plain", low) if plain else low


def session_of_attempt(session: Session, number: int, attempt: int) -> Session:
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
