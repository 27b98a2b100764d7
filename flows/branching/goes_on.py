"""Which policy goes on after a round: the one that the gate lets on, unless a person has taken the
campaign back to another."""

from collections.abc import Sequence
from typing import Any

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.rollbacks import rolled_back
from dpo_core.campaign.store import Artifact, current_artifact
from flows.gate.standing import goes_on
from flows.policy import Answered, Played
from flows.session import Session
from flows.show.summary import read_round_row


def after_people(
    session: Session, number: int, by_gate: Answered, base: Answered, earlier: Sequence[Played]
) -> Answered:
    """Where the round after `number` starts: `by_gate`, or where a person has said.

    earlier: the rounds up to `number`.
    """
    to = session.store.rolled_back(number)
    if to is None:
        return by_gate
    answered = earlier[to - 1].candidate if to else base
    assert answered is not None, "a round that was played has a candidate"
    session.progress.note(f"after round {number}: taken back to {named(to)}")
    return answered


def goes_on_from(layout: Layout, number: int) -> int:
    """The round whose policy the next one starts from, once round `number` is finished; 0: the
    base. As the campaign's folder says it, without running anything."""
    rows = {each: read_round_row(layout, each) or {} for each in range(1, number + 1)}
    return goes_on(rows, rolled_back(Ledger(layout.ledger).read()), number)


def policy_artifact(layout: Layout, number: int) -> Artifact | None:
    """The valid step that made the policy of round `number`; None before it is finished."""
    return current_artifact(layout, number, "training" if number else "base")


def standing(layout: Layout, number: int) -> dict[str, Any]:
    """The policy that goes on after round `number`, as current.json names the promoted one."""
    at = goes_on_from(layout, number)
    made = policy_artifact(layout, at)
    assert made is not None, "a policy that goes on was made"
    path = made.path("policy").relative_to(layout.root)
    return {"round": at, "policy": made.entry.facts["policy"], "path": str(path)}


def named(number: int) -> str:
    """The policy of a round, in words."""
    return f"round {number}'s policy" if number else "the base policy"
