"""The card of an exported dataset: its content, its origin, and how to train on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from dpo_core.records import is_person
from labeling.aggregation.agreement import RoundAgreement
from labeling.exchange.exported_pair import ExportedPair, ExportFormat
from labeling.exchange.markdown import cell_text, front_matter

LLAMAFACTORY = "llamafactory"
"""Folder of the dataset in LLaMA-Factory's format."""


@dataclass(frozen=True)
class AnnotatorCounts:
    """Number of annotators, and of labels by mode (blind, review)."""

    annotators: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportOrigin:
    """Where exported rounds come from.

    judges: source → kind. dropped: round → step → reason → count. imported: rounds with imported
    preferences. agreement: of the rounds where it was measured.
    """

    campaign: str
    rounds: Sequence[int]
    judges: Mapping[str, str]
    people: AnnotatorCounts = AnnotatorCounts()
    dropped: Mapping[int, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    imported: Sequence[int] = ()
    agreement: Mapping[int, RoundAgreement] = field(default_factory=dict)


@dataclass
class ExportCounts:
    """Counts of the written preferences; `cut`: answers cut at the length limit."""

    pairs: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    agreement: float = 0.0
    agreeing: int = 0
    soft: int = 0
    plain: int = 0
    cut: int = 0

    def add(self, pair: ExportedPair) -> None:
        """Count one exported preference."""
        self.pairs[pair.round] += 1
        self.sources.update(set(pair.sources))
        self.soft += pair.p_chosen != 1.0
        self.plain += pair.prompt.text is not None
        if pair.agreement is not None:
            self.agreement += pair.agreement
            self.agreeing += 1


def format_card(
    origin: ExportOrigin, tally: ExportCounts, format: ExportFormat, licence: str, name: str
) -> str:
    """README.md of the dataset, with the hub's front matter."""
    parts = [
        f"# Preferences of the campaign {origin.campaign}",
        f"{tally.pairs.total():,} preferences: of two answers to a prompt, `chosen` is the better "
        "one. Written by `ratchet export`.",
        *_origin(origin, tally),
        *_dropped(origin),
        *_columns(format, tally),
        *_use(format, name),
        *_limits(origin, tally),
    ]
    return _front_matter(tally, licence, origin) + "\n" + "\n\n".join(parts) + "\n"


def dataset_info(name: str, file: str) -> dict[str, object]:
    """LLaMA-Factory's entry for the dataset: ranking, with OpenAI's message keys.

    LLaMA-Factory's formatting `openai` would add a system prompt to each row.
    """
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
        "observation_tag": "tool",
    }
    columns = {"messages": "prompt", "chosen": "chosen", "rejected": "rejected"}
    entry = {"file_name": file, "ranking": True, "formatting": "sharegpt"}
    return {name: {**entry, "columns": columns, "tags": tags}}


def _front_matter(tally: ExportCounts, licence: str, origin: ExportOrigin) -> str:
    files = [{"split": "train", "path": "data/train-*.parquet"}]
    head = {
        "pretty_name": f"Preferences of {origin.campaign}",
        "license": licence,
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "rlhf", "trl"],
        "size_categories": [_size(tally.pairs.total())],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return front_matter(head)


def _size(pairs: int) -> str:
    """The hub's size category of a number of rows."""
    steps = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
    return next((name for limit, name in steps if pairs < limit), "1M<n<10M")


def _origin(origin: ExportOrigin, tally: ExportCounts) -> list[str]:
    rounds = [
        f"| {n} | {tally.pairs[n]:,} | {'imported' if n in origin.imported else 'sampled'} |"
        for n in origin.rounds
    ]
    sources = [
        f"| {_cell(source)} | {_kind(source, origin)} | {count:,} |"
        for source, count in sorted(tally.sources.items())
    ]
    agreement = "unknown" if not tally.agreeing else f"{tally.agreement / tally.agreeing:.1%}"
    return [
        "## Origin",
        "\n".join(["| round | preferences | answers |", "|--:|--:|---|", *rounds]),
        "Each preference combines the verdicts of its sources on a pair.",
        "\n".join(["| source | judge | preferences |", "|---|---|--:|", *sources]),
        f"On average {agreement} of a pair's sources agree with the preference"
        + (f" (known for {tally.agreeing:,} of them)." if tally.agreeing else ".")
        + f" {tally.soft:,} have a soft label, `p_chosen` below 1.",
        *_measured(origin),
        _people(origin.people),
    ]


def _kind(source: str, origin: ExportOrigin) -> str:
    return "human" if is_person(source) else origin.judges.get(source, "–")


def _measured(origin: ExportOrigin) -> list[str]:
    """Agreement of judges with people, and among people, per round that measured it."""
    lines = []
    for number, agreement in origin.agreement.items():
        for judge, kappa in agreement.kappa.items():
            if kappa.value is not None:
                name = f"Cohen's κ of {_cell(judge)} against people"
                lines.append(f"- round {number}: {name} {kappa.value:.2f} (n = {kappa.n})")
        alpha = agreement.alpha
        if alpha.value is not None:
            name = f"Krippendorff's α among {alpha.people} people"
            lines.append(f"- round {number}: {name} {alpha.value:.2f} (n = {alpha.n})")
    return ["\n".join(lines)] if lines else []


def _people(people: AnnotatorCounts) -> str:
    if not people.labels:
        return "No labels are by people."
    how = {"blind": "blind, without a judge's opinion", "review": "reviewing a judge's suggestion"}
    modes = (f"{count:,} {how.get(mode, mode)}" for mode, count in sorted(people.labels.items()))
    who = "1 person" if people.annotators == 1 else f"{people.annotators:,} people"
    return f"Labels by {who}: {'; '.join(modes)}."


def _dropped(origin: ExportOrigin) -> list[str]:
    rows = [
        f"| {number} | {step} | {_cell(reason)} | {count:,} |"
        for number, steps in origin.dropped.items()
        for step, reasons in steps.items()
        for reason, count in reasons.items()
    ]
    if not rows:
        return ["## What was dropped", "Nothing."]
    head = ["| round | step | reason | count |", "|--:|---|---|--:|"]
    return ["## What was dropped, and why", "\n".join([*head, *rows])]


def _columns(format: ExportFormat, tally: ExportCounts) -> list[str]:
    shape = "a list of messages" if format == "conversational" else "text"
    lines = [
        f"- `prompt`, `chosen`, `rejected`: {shape}",
        "- `p_chosen`: probability that `chosen` is the better one; `agreement`: share of the "
        "sources that prefer it",
        "- `sources`: the judges; `round` of the campaign; `pair_id`: hash of prompt and answers",
    ]
    if format == "conversational":
        lines.append(
            f"- `plain`: the prompt was plain text and is written here as one user message "
            f"({tally.plain:,} rows); the policy saw it without a chat template"
        )
    return ["## Columns", "\n".join(lines)]


def _use(format: ExportFormat, name: str) -> list[str]:
    parts = [
        "## Use",
        "TRL reads it directly:",
        "```python\nfrom datasets import load_dataset\nfrom trl import DPOTrainer\n\n"
        'train = load_dataset("PATH", split="train")\n'
        "DPOTrainer(model=MODEL, train_dataset=train)\n```",
    ]
    if format == "standard":
        return parts
    axolotl = {
        "rl": "dpo",
        "datasets": [
            {
                "path": "PATH",
                "split": "train",
                "type": "chat_template.default",
                "field_messages": "prompt",
                "field_chosen": "chosen",
                "field_rejected": "rejected",
                "message_property_mappings": {"role": "role", "content": "content"},
            }
        ],
    }
    return [
        *parts,
        f"Axolotl:\n\n```yaml\n{yaml.safe_dump(axolotl, sort_keys=False)}```",
        f"LLaMA-Factory reads the folder `{LLAMAFACTORY}`:\n\n"
        f"```yaml\nstage: dpo\ndataset_dir: PATH/{LLAMAFACTORY}\ndataset: {name}\n```",
    ]


def _limits(origin: ExportOrigin, tally: ExportCounts) -> list[str]:
    lines = [
        "- Each round's answers were sampled from that round's policy, so they are off-policy for "
        "any other.",
        "- The texts are those that were judged, without special tokens; tokenising them again may "
        "give other tokens than were sampled.",
        "- Judges are fallible, and nothing was checked beyond the above. There is no held-out "
        "split: the campaign's held-out prompts are not included.",
    ]
    if tally.cut:
        lines.append(f"- {tally.cut:,} answers were cut at the length limit.")
    if origin.imported:
        lines.append("- Imported preferences keep the licence of their source.")
    return ["## Limits", "\n".join(lines)]


def _cell(text: str) -> str:
    """`text` escaped for a table cell."""
    return cell_text(text).replace("|", "\\|").replace("<", "&lt;")
