"""Attempts at a round, and the best policy so far, to which a rollback goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.rollbacks import Rollback, chosen, left_behind
from dpo_core.campaign.store import ReplacedAttempt
from dpo_core.gate.decision import Best, find_best
from flows.config import config_of_attempt, describe_attempt
from flows.round_state import EvaluatedPolicy, RoundRecord
from flows.session import Session


@dataclass(frozen=True)
class BestSoFar:
    """Where a rollback goes."""

    best: Best
    evaluated: EvaluatedPolicy


def find_best_policy(
    base: EvaluatedPolicy, earlier: Sequence[RoundRecord], rollbacks: Sequence[Rollback] = ()
) -> BestSoFar:
    """The policy with the highest win rate against the base, the base included.

    Rounds count that were promoted and not left behind by a person's rollback, or that a person
    rolled back to. Plain win rates decide where a length-controlled one is extrapolated.
    """
    last = len(earlier)
    left, returned_to = left_behind(rollbacks, last), chosen(rollbacks, last)
    rounds = {
        number: (gate.facts(GateFacts), record.candidate)
        for number, record in enumerate(earlier, 1)
        if (gate := record.gate) is not None
        and (number in returned_to or (gate.facts(GateFacts).promoted and number not in left))
    }
    plain = any(facts.against_base_extrapolated for facts, _ in rounds.values())
    best = find_best([(number, _low(facts, plain)) for number, (facts, _) in rounds.items()])
    evaluated = rounds[best.round][1] if best.round else base
    assert evaluated is not None, "a round with a gate has a candidate"
    return BestSoFar(best, evaluated)


def _low(facts: GateFacts, plain: bool) -> float | None:
    given = plain and "against_base_low_plain" in facts.model_fields_set
    return facts.against_base_low_plain if given else facts.against_base_low


def session_of_attempt(session: Session, number: int, attempt: int) -> Session:
    """The session under the config of this attempt."""
    if attempt > 1:
        tries = len(session.config.gate.retries) + 1
        changes = ", ".join(describe_attempt(session.config, attempt))
        session.progress.note(f"round {number}: attempt {attempt} of {tries} under {changes}")
    return session.with_config(config_of_attempt(session.config, attempt))


def view_of_attempt(session: Session, number: int, attempt: int) -> Session:
    """The session; it reads an attempt that a later one replaced as history."""
    gates = (GateFacts.read(e.facts).gate for e in session.store.finished(number, "gate"))
    replaced = any(gate is not None and gate.attempt > attempt for gate in gates)
    return replace(session, steps=ReplacedAttempt(session.store)) if replaced else session


def make_current(view: Session) -> None:
    """Let a replaced attempt, which `view` has read, count again."""
    if isinstance(view.steps, ReplacedAttempt):
        view.store.make_current(view.steps.artifacts)
