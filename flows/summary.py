"""A campaign read back from disk, as status, report and Prefect artifacts show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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

    `rounds` holds one mapping per finished round with the names of dpo_core.round_metrics, except
    that `dropped` is a mapping from reason to count. `base` holds the base policy's numbers
    (score_mean, length_mean, truncated_share, measure_<name>). `doing` says what runs now.
    """

    name: str
    directory: str
    state: str  # "finished", "running", "stopped"
    rounds_planned: int
    rounds: tuple[Mapping[str, Any], ...]
    base: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[SampleRow, ...] = ()
    config_yaml: str = ""
    doing: str = ""
