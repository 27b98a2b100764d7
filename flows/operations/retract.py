"""`ratchet labels retract`: a source's judgements no longer count, and the rounds that used them
are aggregated anew. Nothing is deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import current_user
from dpo_core.campaign.lock import locked
from dpo_core.campaign.waiting import clear_waiting
from dpo_core.errors import LabelsError
from dpo_core.records import HUMAN, is_person
from dpo_core.tables import read_rows
from dpo_core.text import visible
from flows.config import config_of_round, read_stored, under_attempt
from flows.round_state import PreferenceSources, RoundRecord
from flows.progress import CampaignProgress
from flows.read_records import count_by_source, find_all_sources
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences


@dataclass(frozen=True)
class PreferenceChanges:
    """Preferences by what became of them. Flipped: the other answer is chosen now; reweighed: the
    same one, with another certainty."""

    kept: int
    flipped: int
    reweighed: int
    vanished: int
    new: int

    @property
    def any(self) -> bool:
        return bool(self.flipped or self.reweighed or self.vanished or self.new)

    def shown(self) -> str:
        return (
            f"{self.flipped} flipped, {self.reweighed} reweighed, {self.vanished} vanished, "
            f"{self.new} new, {self.kept} as before"
        )


@dataclass(frozen=True)
class SourceUse:
    """What a valid round has of a source: how many judgements, and where they went."""

    number: int
    judgements: int
    said: PreferenceSources
    before: Artifact | None


def retract_labels(root: Path, source: str, number: int | None, *, undo: bool, console: Console) -> None:
    """Take the judgements of `source` back, in round `number` or in all.

    Raises LabelsError for a source that judged nothing, CampaignLocked while the campaign runs.
    """
    layout = Layout(root)
    config = read_stored(layout)
    with (
        locked(layout.lock),
        CampaignProgress(console, config.rounds) as progress,
        Session.open(root, config, progress) as session,
    ):
        _check_known(session, source)
        uses = _uses(layout, source, number)
        _check_request(session, source, number, uses, undo)
        session.store.retract(source, number, undo=undo, by=current_user())
        _tell(session, source, number, uses, undo)


def _check_known(session: Session, source: str) -> None:
    known = find_all_sources(session.store)
    if source not in known:
        people = sorted(source.removeprefix(HUMAN) for source in known if is_person(source))
        judges = sorted(source for source in known if not is_person(source))
        raise LabelsError(
            f"nothing in {session.layout.root} was judged by {visible(source)}",
            f"Annotators: {', '.join(people) or 'none'}. Judges: {', '.join(judges) or 'none'}.",
        )


def _check_request(
    session: Session, source: str, number: int | None, uses: Sequence[SourceUse], undo: bool
) -> None:
    if number is not None and not uses:
        raise LabelsError(
            f"round {number} has no judgements by {source}, or is not valid now",
            "Leave --round out to see the rounds that have.",
        )
    if undo and not session.store.was_retracted(source):
        raise LabelsError(
            f"the judgements of {source} were never taken back, so there is nothing to undo",
            "Leave --undo out to take them back.",
        )


def _uses(layout: Layout, source: str, number: int | None) -> list[SourceUse]:
    """The valid rounds with judgements of `source`, the first one first."""
    found = []
    for each in layout.round_numbers() if number is None else [number]:
        pairs = current_artifact(layout, each, "pairs")
        judged = current_artifact(layout, each, "judgements")
        if pairs is None or judged is None:
            continue
        labels = current_artifact(layout, each, "labels")
        count = count_by_source(judged, labels)[source]
        if count:
            trusted, completions, before = (
                current_artifact(layout, each, step)
                for step in ("calibration", "completions", "preferences")
            )
            said = PreferenceSources(pairs, judged, labels, trusted, completions)
            found.append(SourceUse(each, count, said, before))
    return found


def _tell(
    session: Session, source: str, number: int | None, uses: Sequence[SourceUse], undo: bool
) -> None:
    """Aggregate the rounds anew and say what became of their preferences."""
    note = session.progress.note
    where = "all rounds" if number is None else f"round {number}"
    note(f"{source}: {'counts again' if undo else 'taken back'} in {where}")
    told = {use.number: _aggregated(session, use) for use in reversed(uses)}
    for use in uses:
        change, after = told[use.number]
        of = f"{use.judgements} judgements of {use.said.pairs.entry.kept} pairs"
        note(f"  round {use.number}: {of}; preferences: {change.shown()}")
        if not after.entry.kept:
            note(
                f"    nothing is left to train round {use.number} on: `ratchet run` will stop "
                "there. Undo it, or name another judge in the config."
            )
    changed = [use.number for use in uses if told[use.number][0].any]
    if changed:  # a later round, begun at a policy that is not valid now, waits for nobody
        clear_waiting(session.layout)
    note(_next(changed, session.config.rounds))
    if not undo:
        option = f"--round {number} " if number is not None else ""
        note(f"Nothing is deleted: the same command with {option}--undo lets them count again.")


def _aggregated(session: Session, use: SourceUse) -> tuple[PreferenceChanges, Artifact]:
    """The last round first: an earlier one that changes makes the later ones invalid."""
    number, gone = use.number, session.store.retractions(use.number)
    session = _as_it_ran(session, number)
    earlier = _earlier(session.layout, number)
    after = aggregate_preferences(session, number, use.said, earlier, gone)
    return compare_preferences(use.before, after), after


def _as_it_ran(session: Session, number: int) -> Session:
    """The session under the config of the round's preferences: in a branch perhaps its campaign's,
    and where the round was tried again, with the changes of that attempt."""
    config = config_of_round(session.layout, session.config, number)
    gate = current_artifact(session.layout, number, "gate")
    attempt = (gate.entry.facts.get("gate") or {}).get("attempt", 1) if gate is not None else 1
    return session.under(under_attempt(config, attempt))


def _earlier(layout: Layout, number: int) -> list[RoundRecord]:
    """The rounds before, with what aggregation measures drift against: their preferences."""
    return [
        RoundRecord({"preferences": made}, None)
        for each in range(1, number)
        if (made := current_artifact(layout, each, "preferences"))
    ]


def _next(changed: Sequence[int], rounds: int) -> str:
    if not changed:
        return "No preference changed: `ratchet run CONFIG` trains nothing again."
    first = changed[0]
    later = ""
    if first < rounds:
        later = ", and of the rounds after it what its policy changes"
    return (
        f"`ratchet run CONFIG` runs round {first} again from its training on{later}; what is on "
        "disk already is taken from there."
    )


def compare_preferences(before: Artifact | None, after: Artifact) -> PreferenceChanges:
    """From one version of a round's preferences to another, pair by pair."""
    old, new = _by_pair(before), _by_pair(after)
    both = old.keys() & new.keys()
    flipped = sum(old[pair][0] != new[pair][0] for pair in both)
    same = sum(old[pair] == new[pair] for pair in both)
    return PreferenceChanges(
        kept=same,
        flipped=flipped,
        reweighed=len(both) - flipped - same,
        vanished=len(old.keys() - both),
        new=len(new.keys() - both),
    )


def _by_pair(preferences: Artifact | None) -> dict[str, tuple[str, Any]]:
    """pair_id → (chosen, certainty)."""
    if preferences is None:
        return {}
    columns = ["pair_id", "chosen", "p_chosen"]
    rows = read_rows(preferences.path("preferences.parquet"), columns)
    return {row["pair_id"]: (row["chosen"], row["p_chosen"]) for row in rows}
