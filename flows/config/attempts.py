"""The configs under which a refused round is tried again."""

import math
import re
from collections.abc import Mapping
from typing import Any

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.raw import set_key, validate
from flows.config.training import AUTO, MULTIPLE
from labeling.pairs.config import RoundPolicy

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


def rejected_rounds(config: CampaignConfig) -> set[int]:
    """Rounds whose policies answer beside the later ones."""
    return {named.round for named in _named(config) if isinstance(named, RoundPolicy)}


def rejected_models(config: CampaignConfig) -> list[str]:
    """Models that do."""
    return list(dict.fromkeys(named for named in _named(config) if isinstance(named, str)))


def check_rejected_rounds(config: CampaignConfig, first: int) -> None:
    """Raise ConfigError for a policy that is not there yet in round `first`, which is the first to
    run under this config."""
    late = [number for number in sorted(rejected_rounds(config)) if number >= first]
    if late:
        raise ConfigError(
            f"pairs.rejected_from: round {first} would reject answers of round {late[0]}'s policy, "
            "which is not trained by then",
            f"Name a round before round {first}, 0 for the base; or run the campaign without it "
            f"through round {late[0]}, and go on with ratchet branch CAMPAIGN_DIR --from-round "
            f"{late[0]} --set pairs.rejected_from.round={late[0]}.",
        )


def first_round(layout: Layout) -> int:
    """The first round that runs under the config of the campaign in a folder: a branch has the
    rounds before from another."""
    origin = read_origin(layout)
    return 1 if origin is None else origin.round + 1


def _named(config: CampaignConfig) -> list[str | RoundPolicy | None]:
    attempts = range(1, len(config.gate.retries) + 2)
    return [under_attempt(config, attempt).pairs.rejected_from for attempt in attempts]
