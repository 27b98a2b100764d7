"""`ratchet labels retract`: a source's judgements no longer count, and rounds that used them are
aggregated again. Nothing is deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import current_user
from dpo_core.campaign.lock import locked
from dpo_core.campaign.waiting import clear_waiting
from dpo_core.errors import LabelsError
from dpo_core.records import HUMAN, is_person
from dpo_core.tables import read_rows
from dpo_core.text import visible
from flows.config import config_of_attempt, read_stored
from flows.read_records import count_by_source, find_all_sources
from flows.round_state import PreferenceSources, RoundRecord
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences
from reporting.progress import CampaignProgress

_STEPS = ("pairs", "judgements", "labels", "calibration", "completions", "preferences")


@dataclass(frozen=True)
class PreferenceChanges:
    """How a round's preferences changed. flipped: the other answer is chosen. reweighed: the same
    one is, with another certainty."""

    kept: int
    flipped: int
    reweighed: int
    vanished: int
    new: int

    @property
    def any(self) -> bool:
        return bool(self.flipped or self.reweighed or self.vanished or self.new)

    def __str__(self) -> str:
        return (
            f"{self.flipped} flipped, {self.reweighed} reweighed, {self.vanished} vanished, "
            f"{self.new} new, {self.kept} as before"
        )


@dataclass(frozen=True)
class SourceUse:
    """A valid round's judgements of a source: how many, and the steps that they are in."""

    number: int
    judgements: int
    sources: PreferenceSources
    before: Artifact | None


def retract_labels(
    root: Path, source: str, number: int | None, *, undo: bool, console: Console
) -> None:
    """Retract the judgements of `source` in round `number` (None: in all).

    undo: let them count again. Raises LabelsError for a source that judged nothing, CampaignLocked
    while the campaign runs.
    """
    layout = Layout(root)
    config = read_stored(layout)
    with (
        locked(layout.lock),
        CampaignProgress(console, config.rounds) as progress,
        Session.open(root, config, progress) as session,
    ):
        _check_known(session, source)
        uses = _find_uses(layout, source, number)
        _check_request(session, source, number, uses, undo)
        session.store.retract(source, number, undo=undo, by=current_user())
        _report(session, source, number, uses, undo)


def _check_known(session: Session, source: str) -> None:
    known = find_all_sources(session.store)
    if source not in known:
        people = sorted(source.removeprefix(HUMAN) for source in known if is_person(source))
        judges = sorted(source for source in known if not is_person(source))
        raise LabelsError(
            f"{visible(source)} judged nothing in {session.layout.root}",
            f"Annotators: {', '.join(people) or 'none'}. Judges: {', '.join(judges) or 'none'}.",
        )


def _check_request(
    session: Session, source: str, number: int | None, uses: Sequence[SourceUse], undo: bool
) -> None:
    if number is not None and not uses:
        raise LabelsError(
            f"round {number} has no judgements by {source}, or is no longer valid",
            "Omit --round to see the rounds that have some.",
        )
    if undo and not session.store.was_retracted(source):
        raise LabelsError(
            f"the judgements of {source} were never retracted, so there is nothing to undo",
            "Omit --undo to retract them.",
        )


def _find_uses(layout: Layout, source: str, number: int | None) -> list[SourceUse]:
    """The valid rounds with judgements of `source`, oldest first."""
    uses = []
    for each in layout.round_numbers() if number is None else [number]:
        pairs, judgements, labels, calibration, completions, before = (
            current_artifact(layout, each, step) for step in _STEPS
        )
        if pairs is None or judgements is None:
            continue
        if count := count_by_source(judgements, labels)[source]:
            sources = PreferenceSources(pairs, judgements, labels, calibration, completions)
            uses.append(SourceUse(each, count, sources, before))
    return uses


def _report(
    session: Session, source: str, number: int | None, uses: Sequence[SourceUse], undo: bool
) -> None:
    """Aggregate the rounds again and report how their preferences changed."""
    note = session.progress.note
    where = "all rounds" if number is None else f"round {number}"
    note(f"{source}: {'counts again' if undo else 'retracted'} in {where}")
    # The last round first: an earlier one that changes makes later ones invalid.
    results = {use.number: _aggregate(session, use) for use in reversed(uses)}
    for use in uses:
        change, after = results[use.number]
        count = f"{use.judgements} judgements of {use.sources.pairs.entry.kept} pairs"
        note(f"  round {use.number}: {count}; preferences: {change}")
        if not after.entry.kept:
            note(
                f"    no preference is left to train round {use.number} on: `ratchet run` will "
                "stop there. Undo it, or name another judge in the config."
            )
    changed = [use.number for use in uses if results[use.number][0].any]
    if changed:  # later rounds, which started from a policy that is no longer valid, need nobody
        clear_waiting(session.layout)
    note(_next_step(changed, session.config.rounds))
    if not undo:
        option = f"--round {number} " if number is not None else ""
        note(f"Nothing is deleted: the same command with {option}--undo lets them count again.")


def _aggregate(session: Session, use: SourceUse) -> tuple[PreferenceChanges, Artifact]:
    number, layout = use.number, session.layout
    earlier = [
        RoundRecord({"preferences": preferences}, None)
        for each in range(1, number)
        if (preferences := current_artifact(layout, each, "preferences"))
    ]
    retracted, view = session.store.retractions(number), _session_as_run(session, number)
    after = aggregate_preferences(view, number, use.sources, earlier, retracted)
    return compare_preferences(use.before, after), after


def _session_as_run(session: Session, number: int) -> Session:
    """The session under the config that the round's current attempt ran under."""
    view, gate = session.at_round(number), current_artifact(session.layout, number, "gate")
    record = gate.facts(GateFacts).gate if gate is not None else None
    attempt = record.attempt if record is not None else 1
    return view.with_config(config_of_attempt(view.config, attempt))


def _next_step(changed: Sequence[int], rounds: int) -> str:
    if not changed:
        return "No preference changed: `ratchet run CONFIG` trains nothing again."
    later = ", and in later rounds what its policy changes" if changed[0] < rounds else ""
    return (
        f"`ratchet run CONFIG` runs round {changed[0]} again from its training on{later}; finished "
        "steps are taken from disk."
    )


def compare_preferences(before: Artifact | None, after: Artifact) -> PreferenceChanges:
    """Compare two versions of a round's preferences pair by pair."""
    old, new = _read_by_pair(before), _read_by_pair(after)
    shared = old.keys() & new.keys()
    flipped = sum(old[pair][0] != new[pair][0] for pair in shared)
    same = sum(old[pair] == new[pair] for pair in shared)
    return PreferenceChanges(
        kept=same,
        flipped=flipped,
        reweighed=len(shared) - flipped - same,
        vanished=len(old.keys() - shared),
        new=len(new.keys() - shared),
    )


def _read_by_pair(preferences: Artifact | None) -> dict[str, tuple[str, Any]]:
    """pair_id → (chosen, certainty)."""
    if preferences is None:
        return {}
    columns = ["pair_id", "chosen", "p_chosen"]
    rows = read_rows(preferences.path("preferences.parquet"), columns)
    return {row["pair_id"]: (row["chosen"], row["p_chosen"]) for row in rows}
