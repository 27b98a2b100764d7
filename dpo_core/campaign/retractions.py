"""Judgements that were taken back: entries of the ledger, so nothing is deleted and all is told."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from dpo_core.campaign.ledger import Entry
from dpo_core.hashing import digest

RETRACT = "retract"
"""Step name of the ledger entries that take a source's judgements back, or undo that."""


def retraction(source: str, number: int | None, *, undo: bool, by: str) -> Entry:
    """The entry that takes the judgements of `source` in round `number` back; None: in all rounds,
    also later ones. With `undo` they count again."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    facts: Mapping[str, Any] = {"source": source, "round": number, "undo": undo, "by": by}
    return Entry(number or 0, RETRACT, digest(RETRACT, facts, at), facts=facts, at=at)


def retracted(entries: Iterable[Entry], number: int) -> frozenset[str]:
    """Sources whose judgements do not count in round `number`: the last word on each decides."""
    last = {
        entry.facts["source"]: not entry.facts["undo"]
        for entry in entries
        if entry.step == RETRACT and entry.facts["round"] in (None, number)
    }
    return frozenset(source for source, gone in last.items() if gone)
