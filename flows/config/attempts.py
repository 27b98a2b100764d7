"""The configs under which a refused round is tried again."""

import math
import re
from collections.abc import Mapping
from typing import Any

from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.raw import set_key, validate
from flows.config.training import AUTO, MULTIPLE

CHANGEABLE = (
    "training",
    "sampling",
    "pairs",
    "aggregation",
    "budget",
    "data.rounds",
    "prompts.per_round",
)
"""Keys, and sections of keys, that make a round's training. What else there is decides what is
compared: held-out prompts, their answers and their judge stay those of the campaign."""

_MAY_BE_MULTIPLES = ("training.learning_rate", "training.pairs_per_step")
"""Keys that take so many times what is chosen for `auto`."""


def under_attempt(config: CampaignConfig, attempt: int) -> CampaignConfig:
    """The config of a round's `attempt`: that of the first one is the campaign's own.

    Raises ConfigError, as --set would, for a change that cannot be made.
    """
    if attempt == 1:
        return config
    where = f"gate.retry.changes, number {attempt - 1}"
    raw = config.model_dump(mode="json")
    for key, value in config.gate.retries[attempt - 2].items():
        _check_changeable(where, key)
        set_key(raw, key, _value(raw, key, value, where), f"{where}: {key}")
    return validate(raw, where)


def changes_of(config: CampaignConfig, attempt: int) -> tuple[str, ...]:
    """What `attempt` changes, one `key: old → new` each; nothing for the first one."""
    if attempt == 1:
        return ()
    old = config.model_dump(mode="json")
    new = under_attempt(config, attempt).model_dump(mode="json")
    keys = config.gate.retries[attempt - 2]
    return tuple(f"{key}: {_at(old, key)} → {_at(new, key)}" for key in keys)


def check_retries(config: CampaignConfig) -> None:
    """Raise ConfigError for an attempt that could not be made."""
    for number in range(len(config.gate.retries)):
        attempt = under_attempt(config, number + 2)
        check_loss(attempt.training, f"gate.retry.changes, number {number + 1}")
        if attempt == config:
            raise ConfigError(
                f"gate.retry.changes, number {number + 1}, changes nothing: the config has these "
                "values already",
                "Give others, or remove it.",
            )


def _check_changeable(where: str, key: str) -> None:
    if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in CHANGEABLE):
        raise ConfigError(
            f"{where}: {key} cannot be changed for one attempt",
            f"An attempt may change {', '.join(CHANGEABLE)}.",
        )


def _value(raw: Mapping[str, Any], key: str, value: Any, where: str) -> Any:
    """`value`, or that many times what the config has for `key`."""
    found = _multiple(value)
    if found is None:
        return value
    now = _at(raw, key)
    if now == AUTO and key in _MAY_BE_MULTIPLES:
        return value
    if (chosen := _multiple(now)) is not None:
        return f"{float(chosen[1]) * float(found[1]):g}x"
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise ConfigError(
            f"{where}: {key}: {value} needs a number to multiply, but the config has {now!r}",
            "Give the value itself.",
        )
    times = now * float(found[1])
    if not math.isfinite(times):
        raise ConfigError(f"{where}: {key}: {value} is more than a number holds", "Give another.")
    return round(times) if isinstance(now, int) else times


def _multiple(value: Any) -> re.Match[str] | None:
    return MULTIPLE.fullmatch(value.strip()) if isinstance(value, str) else None


def _at(raw: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    value: Any = raw
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
