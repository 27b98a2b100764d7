"""Versions of the defaults: a campaign keeps those it was made with.

`defaults` in a config names the version whose values hold for keys that are left out. A campaign's
config on disk records it; one that does not was made under version 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import Layout, default_root

CHANGED: Mapping[int, Mapping[str, Any]] = {
    2: {
        "gate.decided_share": None,
        "gate.kl_budget": None,
        "gate.length": None,
        "gate.length_base": None,
        "gate.truncated_rise": None,
        "gate.empty_share": None,
        "gate.repetition_rise": None,
    },
    3: {
        "training.beta": 0.1,
        "training.learning_rate": 5e-7,
        "training.warmup_steps": 0,
        "training.pairs_per_step": 32,
        "evaluation.gate_prompts": 256,
        "evaluation.test_prompts": 256,
        "evaluation.relevance": None,
        "gate.relevance_fall": None,
    },
}
"""version → the keys whose defaults it changed, each with the value that it had before. For a key
that is new in that version: the value that leaves everything as it was without it."""

FIRST = 1
DEFAULTS = max(CHANGED)
"""The version of today, for new campaigns."""


def since(version: int) -> dict[str, Any]:
    """The keys that later versions changed, with the values that they had in this one."""
    found: dict[str, Any] = {}
    for later in sorted(CHANGED, reverse=True):
        if later > version:
            found |= CHANGED[later]
    return found


def with_defaults(raw: dict[str, Any], made_under: int = DEFAULTS) -> dict[str, Any]:
    """`raw`, which is changed, with the defaults of the version that it names, else of the one that
    its campaign was `made_under`, where they are not those of today."""
    version = raw.setdefault("defaults", made_under)
    if type(version) is int:  # else the config is refused
        for key, value in since(version).items():
            _leave_as_it_was(raw, key, value)
    return raw


def folder_of(config: Path, raw: Mapping[str, Any], folder: Path | None) -> Layout:
    """Where the campaign of a config lies or will lie: `folder` where a person named it, the folder
    that the config is in where that is a campaign, else the one that its name gives."""
    beside = Layout(config.absolute().parent)
    if folder is None and beside.config == config.absolute() and beside.ledger.exists():
        return beside
    return Layout(folder or default_root(str(raw.get("name", ""))))


def _leave_as_it_was(raw: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    at: Any = raw
    for name in sections:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):  # null, or what the config is refused for
            return
    at.setdefault(last, value)
