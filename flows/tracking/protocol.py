"""The tracker protocol, and the records that trackers receive."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.facts import read_metrics
from dpo_core.campaign.layout import FINGERPRINT_SHOWN, Layout
from dpo_core.scalars import numbers
from dpo_core.tables import iterate_rows
from dpo_core.text import visible
from flows.config import read_stored
from flows.config.versions import flatten
from reporting.sentences import headline, verdict
from reporting.summary import CampaignSummary, read_summary


@dataclass(frozen=True)
class TrackedRound:
    """A finished round. key: changes when the round is recomputed. at: seconds since 1970.

    numbers: row of metrics.parquet; curve: optimiser step → its numbers.
    """

    key: str
    number: int
    at: float
    numbers: Mapping[str, float]
    curve: Mapping[int, Mapping[str, float]]
    texts: Mapping[str, str]


@dataclass(frozen=True)
class CampaignRecord:
    """The whole campaign. config: dotted key → value; files: config and report, if present."""

    name: str
    finished: bool
    headline: str
    config: Mapping[str, str]
    files: tuple[Path, ...]
    rounds: Mapping[int, str]
    """number → key of each finished round"""


def read_campaign(layout: Layout) -> CampaignRecord:
    """The campaign's current record. Raises BadInput if there is no campaign."""
    summary: CampaignSummary = read_summary(layout.root, samples=False)
    config = read_stored(layout).model_dump(mode="json")
    return CampaignRecord(
        name=summary.name,
        finished=summary.state == "finished"
        or (summary.state == "stopped" and summary.stopped is not None),
        headline=headline(summary),
        config={k: str(v) for k, v in flatten(config) if v is not None and v != {} and v != []},
        files=tuple(path for path in (layout.config, layout.report) if path.exists()),
        rounds={row.round: _key(layout, row.round) for row in summary.rounds},
    )


def read_round(layout: Layout, number: int) -> TrackedRound:
    """A finished round with its numbers, training curve and decision."""
    gate = current_artifact(layout, number, "gate")
    assert gate is not None, "it is finished"
    row = read_metrics(gate)
    texts = {
        "verdict": visible(verdict(row, read_stored(layout).evaluation.confidence)),
        "decision": visible(row.decision),
        "policy": str(row.policy),
    }
    at = datetime.fromisoformat(gate.entry.at).timestamp()
    values = _finite(numbers(row.given(), "round", "rounds"))
    return TrackedRound(_key(layout, number), number, at, values, _curve(layout, number), texts)


def _key(layout: Layout, number: int) -> str:
    gate = current_artifact(layout, number, "gate")
    assert gate is not None, "it is finished"
    return f"{number}-{gate.entry.fingerprint[:FINGERPRINT_SHOWN]}"


def _curve(layout: Layout, number: int) -> dict[int, Mapping[str, float]]:
    training = current_artifact(layout, number, "training")
    if training is None or not training.path("training.parquet").exists():
        return {}
    rows = iterate_rows(training.path("training.parquet"))
    return {row["step"]: _finite(numbers(row, "step", "training")) for row in rows}


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


PROJECT = "ratchet"
"""Default experiment or project, which the tracker's own environment variable overrides."""


class Tracker(Protocol):
    """A service that stores runs. Repeating a call creates no second run.

    place: where the runs are stored, without secrets.
    """

    place: str

    def campaign(self, campaign: CampaignRecord, run: str | None) -> str:
        """The campaign's run: `run` if given, else found or created."""
        ...

    def round(self, record: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        """Create a run for the round, nested in the campaign's `parent` or beside it."""
        ...

    def files(self, files: Sequence[Path], campaign: CampaignRecord, parent: str) -> None:
        """Store files with the campaign's run, replacing older ones of the same name."""
        ...

    def finish(self, campaign: CampaignRecord, parent: str) -> None:
        """Mark the campaign's run as finished or as still running."""
        ...


def metric_name(name: str) -> str:
    """A valid name for every tracker: a judge's metrics may have any name."""
    return re.sub(r"[^\w./ -]", "_", name)[:200]


def rename_metrics(numbers: Mapping[str, float]) -> dict[str, float]:
    return {metric_name(name): value for name, value in numbers.items()}


def without_secrets(text: str) -> str:
    """`text` with user names and passwords in URLs hidden."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)
