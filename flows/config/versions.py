"""The successive configs of a campaign, and differences between two configs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.current import read_current, write_current
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, now


def record_replacement(layout: Layout, version: int) -> None:
    """Record when a config was replaced: file times do not survive a copy."""
    state = read_current(layout)
    replaced = {**state.configs_replaced, str(version): now()}
    write_current(layout, state.with_fact("configs_replaced", replaced))


def list_replaced_configs(layout: Layout) -> Iterator[tuple[str, str]]:
    """(file, time of its replacement) of earlier configs, oldest first."""
    noted = read_current(layout).configs_replaced
    version = 1
    while (path := layout.old_config(version)).exists():
        # Older versions recorded no time, but wrote this file when the config was replaced.
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        yield path.name, noted.get(str(version), written)
        version += 1


def differences(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, old value, new value) of everything that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{where}.{key}" if where else str(key)
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield where, str(old), str(new)


def flatten(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a config's values; a list is one value, and so is an empty section."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def describe_changes(old: Any, new: Any) -> list[str]:
    """Each difference as `key: old → new`."""
    return [f"{key}: {before} → {after}" for key, before, after in differences(old, new)]


@dataclass(frozen=True)
class ConfigInForce:
    """The config of a round and its `differences` (key, before, now) from the round before."""

    round: int
    file: str
    differences: tuple[tuple[str, str, str], ...] = ()


def read_configs(layout: Layout, steps: Sequence[Entry]) -> tuple[ConfigInForce, ...]:
    """The config of each round that has trained, by the time of its training."""
    versions = list(list_replaced_configs(layout))
    origin = read_origin(layout)
    configs: list[ConfigInForce] = []
    before: Any = None
    for entry in (entry for entry in steps if entry.step == "training"):
        inherited = origin.config_of(entry.round) if origin else None
        name = next((name for name, until in versions if entry.at <= until), layout.config.name)
        if inherited is not None:
            name, now = layout.branch.name, dict(inherited)
        else:
            now = yaml.safe_load((layout.root / name).read_text(encoding="utf-8"))
        changed = () if before is None else tuple(differences(before, now))
        configs.append(ConfigInForce(entry.round, name, changed))
        before = now
    return tuple(configs)
