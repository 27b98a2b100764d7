"""The configs that a campaign's folder has held one after another, and how two of them differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.current import read_current, write_current
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, now

REPLACED = "configs_replaced"
"""Key in current.json: version of an earlier config → when it was replaced."""


def note_replaced(layout: Layout, version: int) -> None:
    """Write down until when a config was in force; the times of files do not survive a copy."""
    current = read_current(layout)
    current[REPLACED] = {**current.get(REPLACED, {}), str(version): now()}
    write_current(layout, current)


def replaced(layout: Layout) -> Iterator[tuple[str, str]]:
    """(file, until when it was in force) of earlier configs, oldest first."""
    noted: Mapping[str, str] = read_current(layout).get(REPLACED, {})
    version = 1
    while (path := layout.old_config(version)).exists():
        # Campaigns of older versions noted nothing: the file was written when it was replaced.
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        yield path.name, noted.get(str(version), written)
        version += 1


def differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, old value, new value) of what is not the same; keys of sections are joined by dots."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{where}.{key}" if where else str(key)
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield where, str(old), str(new)


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of all that a config says; a list is one value, and so is an empty section."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def changes(old: Any, new: Any) -> list[str]:
    """The same in words: `key: old → new`."""
    return [f"{key}: {before} → {after}" for key, before, after in differences(old, new)]


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
