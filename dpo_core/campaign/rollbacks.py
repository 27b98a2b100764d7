"""A person's word on which policy goes on after a round: entries of the ledger, so that what the
gate had decided stays on disk and all is told."""

from collections.abc import Iterable
from dataclasses import dataclass

from dpo_core.campaign.identity import stated
from dpo_core.campaign.ledger import Entry, now
from dpo_core.hashing import digest

ROLLBACK = "rollback"
"""Step name of the ledger entries that take a campaign back, or undo that."""


@dataclass(frozen=True)
class Rollback:
    """After round `after` the policy of round `to` goes on (0: the base); `by` whom that was said,
    `at` what time, and `why`."""

    after: int
    to: int
    by: str
    at: str
    why: str


def left_behind(people: Iterable[Rollback], number: int) -> frozenset[int]:
    """Rounds up to `number` whose policies a person went back before: they stand no longer, unless
    a later word chose one of them."""
    left: set[int] = set()
    for one in sorted(people, key=lambda one: one.after):
        if one.after <= number:
            left |= set(range(one.to + 1, one.after + 1))
            left.discard(one.to)
    return frozenset(left)


def chosen(people: Iterable[Rollback], number: int) -> frozenset[int]:
    """Rounds up to `number` whose policies a person went back to, and that stand: whatever the gate
    had said of them."""
    words = [one for one in people if one.after <= number]
    return frozenset({one.to for one in words if one.to} - left_behind(words, number))


def rollback(after: int, to: int, *, undo: bool, by: str, why: str) -> Entry:
    """The entry that takes the campaign back to round `to`, or with `undo` lets the gate's word on
    round `after` stand again."""
    at = now()
    facts = {"after": after, "to": to, "undo": undo, "by": by, "why": why}
    return stated(after, ROLLBACK, digest(ROLLBACK, facts, at), facts, at)


def rolled_back(entries: Iterable[Entry]) -> list[Rollback]:
    """What stands now, by round; of several words on one round the last counts."""
    last = {entry.facts["after"]: entry for entry in entries if entry.step == ROLLBACK}
    return [
        Rollback(after, e.facts["to"], e.facts["by"], e.at, e.facts["why"])
        for after, e in sorted(last.items())
        if not e.facts["undo"]
    ]
