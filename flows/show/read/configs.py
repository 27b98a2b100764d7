"""The config in force when a round was made, and how it differs from the round's before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from flows.config.versions import differences, replaced


@dataclass(frozen=True)
class ConfigInForce:
    """`file`: where it lies. differences: (key, before, now), against the round before."""

    round: int
    file: str
    differences: tuple[tuple[str, str, str], ...] = ()


def read_configs(layout: Layout, steps: Sequence[Entry]) -> tuple[ConfigInForce, ...]:
    """Of each round that has trained, by the time at which it had."""
    trained = [entry for entry in steps if entry.step == "training"]
    versions = list(replaced(layout))
    origin = read_origin(layout)
    found: list[ConfigInForce] = []
    before: Any = None
    for entry in trained:
        inherited = origin.config_of(entry.round) if origin else None
        name = next((name for name, until in versions if entry.at <= until), layout.config.name)
        if inherited is not None:
            name, now = layout.branch.name, dict(inherited)
        else:
            now = yaml.safe_load((layout.root / name).read_text(encoding="utf-8"))
        changed = () if before is None else tuple(differences(before, now))
        found.append(ConfigInForce(entry.round, name, changed))
        before = now
    return tuple(found)
