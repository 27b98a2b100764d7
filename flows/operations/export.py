"""`ratchet export`: the preferences of a campaign's rounds, and what its steps say of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.current import valid_steps
from dpo_core.campaign.layout import Layout, joined_in
from dpo_core.errors import BadInput
from dpo_core.records import person
from dpo_core.tables import iterate_rows, read_rows
from dpo_core.text import visible
from flows.config import CampaignConfig, read_stored
from flows.read_records import read_prompts
from labeling.exchange.card import AnnotatorCounts, ExportCounts, ExportOrigin
from labeling.exchange.exported import ExportedPair, ExportFormat
from labeling.exchange.exporting import ExportedPreference, export_pairs
from labeling.exchange.folder import check_free
from labeling.judges.config import members

_AFTER = (
    "data",
    "reference",
    "training",
    "answer",
    "suite_",
    "evaluation",
    "certificate",
    "gate",
)
"""How the steps begin that come after a round's preferences."""

_LABELS = "labels.parquet"


def export_campaign(
    root: Path, rounds: Sequence[int] | None, out: Path, format: ExportFormat, licence: str
) -> ExportCounts:
    """Write the preferences of `rounds` (None: all there are) to the new folder `out`."""
    layout = Layout(root)
    config = read_stored(layout)
    check_free(out)
    chosen = _chosen(layout, config, rounds)
    pairs = (pair for number in chosen for pair in _pairs(layout, number))
    return export_pairs(pairs, _origin(layout, config, chosen), out, format, licence)


def parse_rounds(text: str) -> list[int]:
    """`1,3-5` as numbers. Raises BadInput."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise BadInput(f"--rounds {text}: {part!r} is no round", "For example --rounds 1,3-5")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def _chosen(layout: Layout, config: CampaignConfig, rounds: Sequence[int] | None) -> list[int]:
    there = [n for n in range(1, config.rounds + 1) if _preferred(layout, n) is not None]
    missing = set(rounds or ()) - set(there)
    if missing or not there:
        which = f"round {min(missing)}" if missing else "no round"
        has = "has no preferences yet" if missing else "has preferences yet"
        named = f" (there are those of {', '.join(map(str, there))})" if there else ""
        raise BadInput(
            f"{which} of {config.name} {has}{named}", "Name others, or `ratchet run` it first."
        )
    return there if rounds is None else sorted(rounds)


def _preferred(layout: Layout, number: int) -> tuple[Artifact, Artifact, Artifact] | None:
    """(prompts, completions, preferences) of a round, which an imported one has in one step."""
    imported = current_artifact(layout, number, "imported")
    if imported is not None:
        return imported, imported, imported
    steps = ("prompts", "completions", "preferences")
    found = [a for step in steps if (a := current_artifact(layout, number, step)) is not None]
    return (found[0], found[1], found[2]) if len(found) == len(steps) else None


def _pairs(layout: Layout, number: int) -> Iterator[ExportedPreference]:
    """The preferences of a round with their texts; those of one round are in memory."""
    found = _preferred(layout, number)
    assert found is not None, "chosen for its preferences"
    made, completions, preferences = found
    prompts = read_prompts(made.path("prompts.parquet"))
    texts = _texts(completions, preferences)
    for row in iterate_rows(preferences.path("preferences.parquet")):
        (chosen, cut), (rejected, cut_too) = texts[row["chosen"]], texts[row["rejected"]]
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
        yield ExportedPreference(pair, cut + cut_too)


def _texts(completions: Artifact, preferences: Artifact) -> Mapping[str, tuple[str, bool]]:
    """completion_id → (text, cut at the length limit?) of those that preferences name."""
    named = read_rows(preferences.path("preferences.parquet"), ["chosen", "rejected"])
    needed = {identity for row in named for identity in row.values()}
    columns = ["completion_id", "text", "finish_reason"]
    return {
        row["completion_id"]: (row["text"], row["finish_reason"] != "stop")
        for row in iterate_rows(completions.path("completions.parquet"), columns)
        if row["completion_id"] in needed
    }


def _origin(layout: Layout, config: CampaignConfig, rounds: Sequence[int]) -> ExportOrigin:
    steps = {number: _before_training(layout, number) for number in rounds}
    dropped = {
        number: {
            artifact.entry.step: artifact.entry.dropped
            for artifact in made
            if artifact.entry.step != "prompts" and artifact.entry.dropped
            if joined_in(artifact.entry.step) == artifact.entry.step  # what is joined says it
        }
        for number, made in steps.items()
    }
    return ExportOrigin(
        campaign=config.name,
        rounds=rounds,
        judges={visible(m.source): m.kind for m in members(config.judge)},
        people=_people([row for made in steps.values() for row in _labels(made)]),
        dropped=dropped,
        imported=[n for n in rounds if current_artifact(layout, n, "imported") is not None],
        agreement={
            number: found
            for number, made in steps.items()
            if (found := _facts(made).get("agreement"))
        },
    )


def _before_training(layout: Layout, number: int) -> list[Artifact]:
    """The valid steps of a round that its preferences come from."""
    steps = valid_steps(layout, number)
    found = (
        current_artifact(layout, number, step) for step in steps if not step.startswith(_AFTER)
    )
    return [artifact for artifact in found if artifact is not None]


def _facts(made: Sequence[Artifact]) -> Mapping[str, Any]:
    """What the step of preferences measured."""
    return next((a.entry.facts for a in made if a.entry.step == "preferences"), {})


def _labels(made: Sequence[Artifact]) -> Iterator[dict[str, Any]]:
    """The labels of pairs in a round that count: neither discarded nor taken back."""
    gone = set(_facts(made).get("retracted", ()))
    for artifact in made:
        if _LABELS in artifact.entry.outputs:
            for row in read_rows(artifact.path(_LABELS), ["annotator", "mode", "kind", "verdict"]):
                counts = row["kind"] == "pair" and row["verdict"] is not None
                if counts and person(row["annotator"]) not in gone:
                    yield row


def _people(labels: Sequence[Mapping[str, Any]]) -> AnnotatorCounts:
    """How many labelled, and how much in which mode."""
    modes = Counter(str(row["mode"]) for row in labels)
    return AnnotatorCounts(len({row["annotator"] for row in labels}), modes)
