"""A campaign read back from disk, as status, report and Prefect artifacts show it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.lock import holder
from dpo_core.campaign.retractions import RETRACT, TakenBack, standing
from dpo_core.campaign.store import Artifact, current_artifact
from dpo_core.records import prompt_from_row
from dpo_core.tables import read_rows
from flows.config import check_is_campaign
from flows.people.waiting import read_waiting

SAMPLES_SHOWN = 200
"""Held-out prompts whose answers the report shows."""


@dataclass(frozen=True)
class Answer:
    """One policy's answer to a held-out prompt; round 0 is the base policy."""

    round: int
    text: str
    score: float | None
    reason: str
    finish_reason: str


@dataclass(frozen=True)
class SampleRow:
    """One held-out test prompt and what every round's policy answered to it."""

    prompt: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class CampaignSummary:
    """Everything that is shown of a campaign.

    `rounds` holds one mapping per finished round with the names of
    dpo_core.evaluation.round_metrics, except that `dropped` is a mapping from reason to count.
    `base` holds the base policy's numbers (score_mean, length_mean, truncated_share,
    measure_<name>). `doing` says what runs now, or what people are asked for. `taken_back`: sources
    whose judgements do not count. `outdated`: rounds that were finished before something was taken
    back or let count again, and are to be run again for it.
    """

    name: str
    directory: str
    state: str  # "finished", "running", "waiting" for people, "stopped"
    rounds_planned: int
    rounds: tuple[Mapping[str, Any], ...]
    base: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[SampleRow, ...] = ()
    config_yaml: str = ""
    doing: str = ""
    taken_back: tuple[TakenBack, ...] = ()
    outdated: tuple[int, ...] = ()


def read_summary(root: Path, *, samples: bool = True) -> CampaignSummary:
    """The campaign below `root`, read without locking it. Raises BadInput when there is none."""
    layout = Layout(root)
    check_is_campaign(layout)
    config_yaml = layout.config.read_text(encoding="utf-8")
    config = yaml.safe_load(config_yaml)
    planned = int(config["rounds"])
    rows = tuple(row for n in range(1, planned + 1) if (row := read_round_row(layout, n)))
    running = holder(layout.lock)
    waiting = read_waiting(layout)
    entries = Ledger(layout.ledger).read()
    return CampaignSummary(
        name=config["name"],
        directory=str(root),
        state="waiting" if waiting else _state(running is not None, len(rows), planned),
        rounds_planned=planned,
        rounds=rows,
        base=_base(rows),
        samples=_samples(layout, planned) if samples else (),
        config_yaml=config_yaml,
        doing=waiting.sentence if waiting else _doing(layout, running),
        taken_back=tuple(standing(entries, planned)),
        outdated=() if running else _outdated(entries, rows, planned),
    )


def read_round_row(layout: Layout, number: int) -> dict[str, Any] | None:
    """The metrics of a finished round, or None."""
    gate = current_artifact(layout, number, "gate")
    if gate is None:
        return None
    row: dict[str, Any] = json.loads(gate.path("metrics.json").read_text(encoding="utf-8"))
    return row


def _outdated(
    entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]], planned: int
) -> tuple[int, ...]:
    """Rounds that were finished and are not, nothing having been made since the last retraction but
    the preferences that follow it at once."""
    at = [place for place, entry in enumerate(entries) if entry.step == RETRACT]
    if not at or any(entry.step not in (RETRACT, "preferences") for entry in entries[at[-1] :]):
        return ()
    finished = {entry.round for entry in entries if entry.step == "gate"}
    return tuple(sorted(n for n in finished - {row["round"] for row in rows} if n <= planned))


def _state(running: bool, finished: int, planned: int) -> str:
    if running:
        return "running"
    return "finished" if finished >= planned else "stopped"


def _doing(layout: Layout, running: Mapping[str, object] | None) -> str:
    if running is None:
        return ""
    partials = sorted(layout.root.glob("rounds/*/.*.partial"), key=lambda p: p.stat().st_mtime)
    at = f"{partials[-1].parent.name}: {partials[-1].name[1:].split('-')[0]}" if partials else ""
    return f"round {at} (process {running['pid']} on {running['host']})" if at else "between steps"


def _base(rows: tuple[Mapping[str, Any], ...]) -> dict[str, float]:
    """The base policy's own numbers: the columns that end in _base and are no comparison."""
    if not rows:
        return {}
    return {
        name.removesuffix("_base"): value
        for name, value in rows[-1].items()
        if name.endswith("_base") and "win_rate" not in name and value is not None
    }


def _samples(layout: Layout, planned: int) -> tuple[SampleRow, ...]:
    """The first test prompts with every round's first answer to each."""
    held_out = current_artifact(layout, 0, "held_out")
    if held_out is None:
        return ()
    prompts = [prompt_from_row(row) for row in read_rows(held_out.path("prompts.parquet"))]
    shown = [prompt for prompt in prompts if prompt.split == "test"][:SAMPLES_SHOWN]
    answers: dict[str, list[Answer]] = defaultdict(list)
    for number in range(planned + 1):
        for prompt_id, answer in _answers(layout, number).items():
            answers[prompt_id].append(answer)
    return tuple(SampleRow(p.shown(), tuple(answers[p.prompt_id])) for p in shown)


def _answers(layout: Layout, number: int) -> dict[str, Answer]:
    completions = current_artifact(layout, number, "answers")
    if completions is None:
        return {}
    scores = _scores(current_artifact(layout, number, "answer_scores"))
    columns = ["completion_id", "prompt_id", "sample_index", "text", "finish_reason"]
    found = {}
    for row in read_rows(completions.path("completions.parquet"), columns):
        if row["sample_index"] == 0:
            score, reason = scores.get(row["completion_id"], (None, ""))
            found[row["prompt_id"]] = Answer(
                number, row["text"], score, reason, row["finish_reason"]
            )
    return found


def _scores(scores: Artifact | None) -> dict[str, tuple[float | None, str]]:
    if scores is None:
        return {}
    rows = read_rows(scores.path("scores.parquet"), ["completion_id", "score", "reason"])
    return {row["completion_id"]: (row["score"], row["reason"]) for row in rows}
