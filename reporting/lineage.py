"""Lineage, from the ledger: the prompts, labels, weights and versions behind each checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.label_gains import count_labels
from reporting.summary import CampaignSummary

HASH_SHOWN = 12


@dataclass(frozen=True)
class LineageStep:
    """One step, formatted. Hashes are shortened; the ledger has them whole."""

    step: str
    at: str
    seconds: str
    counts: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    versions: str


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one round (0: the base) and the steps behind them."""

    round: int
    sentence: str
    steps: tuple[LineageStep, ...]


def lineage(summary: CampaignSummary) -> tuple[Checkpoint, ...]:
    """One checkpoint per round, newest first."""
    rows = {row.round: row for row in summary.rounds}
    by_round: dict[int, list[Entry]] = {}
    for entry in summary.details.steps:
        by_round.setdefault(entry.round, []).append(entry)
    return tuple(
        Checkpoint(n, _sentence(n, rows.get(n), entries), tuple(map(_lineage_step, entries)))
        for n, entries in sorted(by_round.items(), reverse=True)
    )


def _sentence(number: int, row: RoundMetrics | None, entries: Sequence[Entry]) -> str:
    steps = {entry.step: entry for entry in entries}
    if number == 0 or row is None or "training" not in steps:
        return "The base policy and the held-out prompts." if number == 0 else "Not finished."
    training = steps["training"]
    start, reference = (_short(training.inputs.get(key)) for key in ("policy", "reference"))
    data = steps.get("preferences") or steps.get("imported")
    file = _short(next(iter(data.outputs.values()), None)) if data else "–"
    reset = "also the reference," if start == reference else f"with reference {reference},"
    return (
        f"Weights {_short(str(row.policy))} were trained from {start}, {reset} on "
        f"{training.kept} preferences (file {file}) of {row.prompts} prompts with "
        f"{count_labels(row)} labels{_sources(row)}, under {_versions(training)}, "
        f"on {training.at[:10]}."
    )


def _sources(row: RoundMetrics) -> str:
    pairs = {judge: did.pairs for judge, did in (row.judges or {}).items()}
    labels = (row.labels_by_source or pairs).items()
    counts = ", ".join(f"{visible(source)} {count}" for source, count in labels)
    return f" ({counts})" if counts else ""


def _lineage_step(entry: Entry) -> LineageStep:
    dropped = "; ".join(f"{visible(why)} {count}" for why, count in entry.dropped.items())
    counts = f"{entry.came_in:,} in, {entry.kept:,} out" + (f" ({dropped})" if dropped else "")
    return LineageStep(
        entry.step,
        entry.at.replace("T", " ").removesuffix("+00:00"),
        f"{entry.seconds:.1f}",
        counts if entry.came_in or entry.kept else "",
        tuple(_cut(entry.inputs)),
        tuple(_cut(_without_tokenizer(entry.outputs))),
        _versions(entry),
    )


def _without_tokenizer(outputs: Mapping[str, str]) -> Mapping[str, str]:
    """Of a policy's files only the weights are shown."""
    return {
        name: value
        for name, value in outputs.items()
        if not name.startswith("policy/") or name.endswith(".safetensors")
    }


def _cut(hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((visible(name), _short(value)) for name, value in hashes.items())


def _short(value: str | None) -> str:
    return visible(value)[:HASH_SHOWN] if value else "–"


def _versions(entry: Entry) -> str:
    """Of the libraries that the step names, and of Ratchet, which old ledgers do not have."""
    named = {**entry.versions, **({"ratchet": entry.ratchet} if entry.ratchet else {})}
    return ", ".join(f"{visible(name)} {visible(v)}" for name, v in named.items())
