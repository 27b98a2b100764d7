"""The config in force when a round was made, and how it differs from the round's before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from dpo_core.atomic import write_json
from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.store import read_current

REPLACED = "configs_replaced"
"""Key in current.json: version of an earlier config → when it was replaced."""


@dataclass(frozen=True)
class ConfigInForce:
    """`file`: where it lies. differences: (key, before, now), against the round before."""

    round: int
    file: str
    differences: tuple[tuple[str, str, str], ...] = ()


def read_configs(layout: Layout, steps: Sequence[Entry]) -> tuple[ConfigInForce, ...]:
    """Of each round that has trained, by the time at which it had."""
    trained = [entry for entry in steps if entry.step == "training"]
    versions = list(_versions(layout))
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


def note_replaced(layout: Layout, version: int) -> None:
    """Write down until when a config was in force; the times of files do not survive a copy."""
    current = read_current(layout)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    current[REPLACED] = {**current.get(REPLACED, {}), str(version): at}
    write_json(layout.current, current)


def _versions(layout: Layout) -> Iterator[tuple[str, str]]:
    """(file, until when it was in force) of earlier configs, oldest first."""
    noted: Mapping[str, str] = read_current(layout).get(REPLACED, {})
    version = 1
    while (path := layout.old_config(version)).exists():
        # Campaigns of older versions noted nothing: the file was written when it was replaced.
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        yield path.name, noted.get(str(version), written)
        version += 1


def differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, old, new) of what is not the same."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{where}.{key}" if where else str(key)
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield where, str(old), str(new)
