"""What a tracker is, and what is common to all."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from flows.tracking.told import CampaignTold, RoundTold

PROJECT = "ratchet"
"""Experiment or project, unless the tracker's own environment variable names another."""


class Tracker(Protocol):
    """A service that keeps runs. A call that is repeated makes no second run.

    place: where the runs are kept, without secrets.
    """

    place: str

    def campaign(self, told: CampaignTold, run: str | None) -> str:
        """The campaign's run: `run`, or else one that is found or made."""
        ...

    def round(self, told: RoundTold, campaign: CampaignTold, parent: str) -> str:
        """A run of its own for the round, below or beside the campaign's `parent`."""
        ...

    def files(self, files: Sequence[Path], told: CampaignTold, parent: str) -> None:
        """Keep files with the campaign's run; they replace older ones of their names."""
        ...

    def finish(self, told: CampaignTold, parent: str) -> None:
        """Say whether the campaign goes on."""
        ...


def metric_name(name: str) -> str:
    """A name that every tracker takes: a judge's measures may be called anything."""
    return re.sub(r"[^\w./ -]", "_", name)[:200]


def named(numbers: Mapping[str, float]) -> dict[str, float]:
    return {metric_name(name): value for name, value in numbers.items()}


def without_secrets(text: str) -> str:
    """Names and passwords in URLs hidden."""
    return re.sub(r"//[^/@\s]+@", "//…@", text)
