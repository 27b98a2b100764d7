"""Versions of the defaults: a campaign keeps those it was created with.

The key `defaults` names the version that supplies omitted keys. A campaign's stored config records
it; one without it was created under version 1.
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
"""version → keys whose defaults it changed → their value before. For a key that was new in that
version: the value that switches it off."""

FIRST = 1
DEFAULTS = max(CHANGED)
"""The current version, for new campaigns."""


def earlier_defaults(version: int) -> dict[str, Any]:
    """The keys that later versions changed, with their values in this one."""
    values: dict[str, Any] = {}
    for later in sorted(CHANGED, reverse=True):
        if later > version:
            values |= CHANGED[later]
    return values


def with_defaults(raw: dict[str, Any], made_under: int = DEFAULTS) -> dict[str, Any]:
    """Fill in defaults that have changed since the version that `raw` names, or else `made_under`.

    Changes and returns `raw`.
    """
    version = raw.setdefault("defaults", made_under)
    if type(version) is int:  # validation refuses anything else
        for key, value in earlier_defaults(version).items():
            _set_default(raw, key, value)
    return raw


def find_campaign_folder(config: Path, raw: Mapping[str, Any], folder: Path | None) -> Layout:
    """The campaign's folder: `folder` if given; the config's own folder if that is a campaign; else
    the default for the config's name."""
    beside = Layout(config.absolute().parent)
    if folder is None and beside.config == config.absolute() and beside.ledger.exists():
        return beside
    return Layout(folder or default_root(str(raw.get("name", ""))))


def _set_default(raw: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    at: Any = raw
    for name in sections:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):  # null, or a value that validation refuses
            return
    at.setdefault(last, value)
