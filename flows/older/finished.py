"""A round that an older Ratchet finished."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry

Settings = Mapping[str, Any]
"""A config as its file has it, all keys written out."""


@dataclass(frozen=True)
class Finished:
    """A round that an older version finished: its steps by name, and the config that it had."""

    number: int
    layout: Layout
    steps: Mapping[str, Entry]
    settings: Settings

    def file(self, step: str, name: str) -> Path:
        entry = self.steps[step]
        return self.layout.step(self.number, step, entry.fingerprint) / name

    def facts(self, step: str) -> Mapping[str, Any]:
        return self.steps[step].facts if step in self.steps else {}
