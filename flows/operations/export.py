"""`ratchet export`: the preferences of a campaign's rounds, with a card of their origin."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.current import valid_steps
from dpo_core.campaign.layout import Layout, joined_in
from dpo_core.errors import BadInput
from dpo_core.records import LabelRow, person
from dpo_core.tables import iterate_as, iterate_rows, read_rows
from dpo_core.text import visible
from flows.config import CampaignConfig, read_stored
from flows.read_records import read_prompts
from labeling.exchange.card import AnnotatorCounts, ExportCounts, ExportOrigin
from labeling.exchange.exported_pair import ExportedPair, ExportFormat
from labeling.exchange.exporting import ExportedPreference, export_pairs
from labeling.exchange.folder import check_free
from labeling.judges.config import members
from labeling.step_facts import PreferencesFacts

_AFTER = ("data", "reference", "training", "answer", "suite_", "evaluation", "certificate", "gate")
"""Prefixes of steps that come after a round's preferences."""

_LABELS = "labels.parquet"


def export_campaign(
    root: Path, rounds: Sequence[int] | None, out: Path, format: ExportFormat, licence: str
) -> ExportCounts:
    """Write the preferences of `rounds` (None: all) to the new folder `out`."""
    layout = Layout(root)
    config = read_stored(layout)
    check_free(out)
    chosen = _check_rounds(layout, config, rounds)
    pairs = (pair for number in chosen for pair in _iterate_pairs(layout, number))
    return export_pairs(pairs, _origin(layout, config, chosen), out, format, licence)


def parse_rounds(text: str) -> list[int]:
    """`1,3-5` as numbers. Raises BadInput."""
    rounds: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise BadInput(
                f"--rounds {text}: {part!r} is not a round", "For example --rounds 1,3-5"
            )
        rounds.update(range(int(first), int(last or first) + 1))
    return sorted(rounds)


def _check_rounds(
    layout: Layout, config: CampaignConfig, rounds: Sequence[int] | None
) -> list[int]:
    available = [n for n in range(1, config.rounds + 1) if _find_steps(layout, n) is not None]
    missing = set(rounds or ()) - set(available)
    if missing or not available:
        what = f"round {min(missing)} has no" if missing else "no round has"
        others = f" (rounds that have: {', '.join(map(str, available))})" if available else ""
        raise BadInput(
            f"{what} preferences yet in {config.name}{others}",
            "Name other rounds, or `ratchet run` it first.",
        )
    return available if rounds is None else sorted(rounds)


def _find_steps(layout: Layout, number: int) -> tuple[Artifact, Artifact, Artifact] | None:
    """(prompts, completions, preferences) of a round; an import has all in one step."""
    imported = current_artifact(layout, number, "imported")
    if imported is not None:
        return imported, imported, imported
    steps = ("prompts", "completions", "preferences")
    artifacts = [a for step in steps if (a := current_artifact(layout, number, step)) is not None]
    return (artifacts[0], artifacts[1], artifacts[2]) if len(artifacts) == len(steps) else None


def _iterate_pairs(layout: Layout, number: int) -> Iterator[ExportedPreference]:
    """The preferences of a round with their texts, which are held in memory."""
    steps = _find_steps(layout, number)
    assert steps is not None, "_check_rounds checked it"
    prompted, completions, preferences = steps
    prompts = read_prompts(prompted.path("prompts.parquet"))
    texts = _read_texts(completions, preferences)
    for row in iterate_rows(preferences.path("preferences.parquet")):
        (chosen, cut_chosen), (rejected, cut_rejected) = (
            texts[row["chosen"]],
            texts[row["rejected"]],
        )
        pair = ExportedPair(
            prompt=prompts[row["prompt_id"]],
            chosen=chosen,
            rejected=rejected,
            p_chosen=row["p_chosen"],
            agreement=row["agreement"],
            sources=tuple(dict.fromkeys(row["sources"] or ())),
            round=number,
            pair_id=row["pair_id"],
        )
        yield ExportedPreference(pair, cut_chosen + cut_rejected)


def _read_texts(completions: Artifact, preferences: Artifact) -> Mapping[str, tuple[str, bool]]:
    """completion_id → (text, cut at the length limit?) of the completions in preferences."""
    named = read_rows(preferences.path("preferences.parquet"), ["chosen", "rejected"])
    needed = {identity for row in named for identity in row.values()}
    columns = ["completion_id", "text", "finish_reason"]
    return {
        row["completion_id"]: (row["text"], row["finish_reason"] != "stop")
        for row in iterate_rows(completions.path("completions.parquet"), columns)
        if row["completion_id"] in needed
    }


def _origin(layout: Layout, config: CampaignConfig, rounds: Sequence[int]) -> ExportOrigin:
    by_round = {number: _find_sources(layout, number) for number in rounds}
    dropped = {
        number: {
            step.entry.step: step.entry.dropped
            for step in steps
            if step.entry.step != "prompts" and step.entry.dropped
            if joined_in(step.entry.step) == step.entry.step  # the joined step has their counts
        }
        for number, steps in by_round.items()
    }
    return ExportOrigin(
        campaign=config.name,
        rounds=rounds,
        judges={visible(m.source): m.kind for m in members(config.judge)},
        people=_count_people([row for steps in by_round.values() for row in _read_labels(steps)]),
        dropped=dropped,
        imported=[n for n in rounds if current_artifact(layout, n, "imported") is not None],
        agreement={
            number: agreement
            for number, steps in by_round.items()
            if (agreement := _find_facts(steps).agreement) is not None
        },
    )


def _find_sources(layout: Layout, number: int) -> list[Artifact]:
    """The valid steps behind a round's preferences."""
    names = [step for step in valid_steps(layout, number) if not step.startswith(_AFTER)]
    steps = (current_artifact(layout, number, name) for name in names)
    return [step for step in steps if step is not None]


def _find_facts(steps: Sequence[Artifact]) -> PreferencesFacts:
    facts = (step.facts(PreferencesFacts) for step in steps if step.entry.step == "preferences")
    return next(facts, PreferencesFacts())


def _read_labels(steps: Sequence[Artifact]) -> Iterator[LabelRow]:
    """The labels of a round's pairs that count: neither discarded nor retracted."""
    retracted = _find_facts(steps).retracted
    for artifact in steps:
        if _LABELS in artifact.entry.outputs:
            for row in iterate_as(artifact.path(_LABELS), LabelRow):
                counts = row["kind"] == "pair" and row["verdict"] is not None
                if counts and person(row["annotator"]) not in retracted:
                    yield row


def _count_people(labels: Sequence[LabelRow]) -> AnnotatorCounts:
    """Annotators, and labels by mode."""
    modes = Counter(row["mode"] for row in labels)
    return AnnotatorCounts(len({row["annotator"] for row in labels}), modes)
