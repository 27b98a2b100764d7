"""Judgements that were taken back: entries of the ledger, so nothing is deleted and all is told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpo_core.campaign.identity import stated
from dpo_core.campaign.ledger import Entry, now
from dpo_core.hashing import digest

RETRACT = "retract"
"""Step name of the ledger entries that take a source's judgements back, or undo that."""


@dataclass(frozen=True)
class Retraction:
    """A source whose judgements do not count in `rounds`; `by` whom, `at` what time that was said
    last. used: those of the rounds that had judgements of it."""

    source: str
    rounds: tuple[int, ...]
    used: tuple[int, ...]
    by: str
    at: str


def retraction(source: str, number: int | None, *, undo: bool, by: str) -> Entry:
    """The entry that takes the judgements of `source` in round `number` back; None: in all rounds,
    also later ones. With `undo` they count again."""
    at = now()
    facts = {"source": source, "round": number, "undo": undo, "by": by}
    return stated(number or 0, RETRACT, digest(RETRACT, facts, at), facts, at)


def retracted(entries: Iterable[Entry], number: int) -> frozenset[str]:
    """Sources whose judgements do not count in round `number`: the last word on each decides."""
    last = {
        entry.facts["source"]: not entry.facts["undo"]
        for entry in entries
        if entry.step == RETRACT and entry.facts["round"] in (None, number)
    }
    return frozenset(source for source, gone in last.items() if gone)


def standing(entries: Sequence[Entry], rounds: int) -> list[Retraction]:
    """What is taken back now in rounds 1 to `rounds`, by source."""
    retracted_in = {number: retracted(entries, number) for number in range(1, rounds + 1)}
    words = {e.facts["source"]: e for e in entries if e.step == RETRACT and not e.facts["undo"]}
    used = {
        (source, entry.round) for entry in entries for source in entry.facts.get("retracted", ())
    }
    retractions = []
    for source, entry in sorted(words.items()):
        stands = tuple(number for number, sources in retracted_in.items() if source in sources)
        had = tuple(number for number in stands if (source, number) in used)
        if stands:
            retractions.append(Retraction(source, stands, had, entry.facts["by"], entry.at))
    return retractions
