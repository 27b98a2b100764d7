"""The configs of a round's further attempts, after the gate refused its candidate."""

import math
import re
from typing import Any

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.raw import RawConfig, validate
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
"""Keys and sections that an attempt may change: those that shape the training. Held-out prompts,
their answers and their judge stay the campaign's, so that attempts are comparable."""

_MULTIPLES = ("training.learning_rate", "training.pairs_per_step")
"""Keys that accept a multiple of their `auto` value."""


def config_of_attempt(config: CampaignConfig, attempt: int) -> CampaignConfig:
    """The config of a round's attempt; of the first one, the campaign's own.

    Raises ConfigError, as --set does, for an invalid change.
    """
    if attempt == 1:
        return config
    where = f"gate.retry.changes[{attempt - 2}]"
    raw = RawConfig(config.model_dump(mode="json"))
    for key, value in config.gate.retries[attempt - 2].items():
        _check_changeable(where, key)
        raw.set(key, _value(raw.get(key), key, value, where), f"{where}: {key}")
    return validate(raw.values, where)


def describe_attempt(config: CampaignConfig, attempt: int) -> tuple[str, ...]:
    """The attempt's changes, as `key: old → new`; none for the first one."""
    if attempt == 1:
        return ()
    changed = config_of_attempt(config, attempt)
    old, new = (RawConfig(each.model_dump(mode="json")) for each in (config, changed))
    keys = config.gate.retries[attempt - 2]
    return tuple(f"{key}: {old.get(key)} → {new.get(key)}" for key in keys)


def check_retries(config: CampaignConfig) -> None:
    """Raise ConfigError for an attempt that is invalid or changes nothing."""
    for index in range(len(config.gate.retries)):
        attempt, where = config_of_attempt(config, index + 2), f"gate.retry.changes[{index}]"
        check_loss(attempt.training, where)
        if attempt == config:
            raise ConfigError(
                f"{where} changes nothing: the config already has these values",
                "Give other values, or remove the entry.",
            )


def _check_changeable(where: str, key: str) -> None:
    if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in CHANGEABLE):
        raise ConfigError(
            f"{where}: {key} cannot differ between attempts",
            f"An attempt may change {', '.join(CHANGEABLE)}.",
        )


def _value(now: Any, key: str, value: Any, where: str) -> Any:
    """`value`; if it is a multiple such as 2x, that many times the config's value `now`."""
    factor = _multiple(value)
    if factor is None:
        return value
    if now == AUTO and key in _MULTIPLES:
        return value
    if (before := _multiple(now)) is not None:
        return f"{float(before[1]) * float(factor[1]):g}x"
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise ConfigError(
            f"{where}: {key}: {value} needs a number to multiply, but the config has {now!r}",
            "Give the value itself.",
        )
    product = now * float(factor[1])
    if not math.isfinite(product):
        raise ConfigError(f"{where}: {key}: {value} is too large", "Give a smaller multiple.")
    return round(product) if isinstance(now, int) else product


def _multiple(value: Any) -> re.Match[str] | None:
    return MULTIPLE.fullmatch(value.strip()) if isinstance(value, str) else None


def rejected_rounds(config: CampaignConfig) -> set[int]:
    """Rounds whose policies supply rejected answers (pairs.rejected_from)."""
    return {source.round for source in _rejected_from(config) if isinstance(source, RoundPolicy)}


def rejected_models(config: CampaignConfig) -> list[str]:
    """Models that supply rejected answers (pairs.rejected_from)."""
    return list(dict.fromkeys(name for name in _rejected_from(config) if isinstance(name, str)))


def check_rejected_rounds(config: CampaignConfig, first: int) -> None:
    """Raise ConfigError for a policy that does not exist yet in `first`, the first round that runs
    under this config."""
    late = [number for number in sorted(rejected_rounds(config)) if number >= first]
    if late:
        raise ConfigError(
            f"pairs.rejected_from: round {late[0]}'s policy does not exist yet in round {first}",
            f"Name a round before round {first}, or 0 for the base. Or run the campaign without "
            f"this key through round {late[0]}, then ratchet branch CAMPAIGN_DIR --from-round "
            f"{late[0]} --set pairs.rejected_from.round={late[0]}.",
        )


def first_round(layout: Layout) -> int:
    """The first round that runs under the campaign's own config: a branch inherits the earlier
    ones."""
    origin = read_origin(layout)
    return 1 if origin is None else origin.round + 1


def _rejected_from(config: CampaignConfig) -> list[str | RoundPolicy | None]:
    attempts = range(1, len(config.gate.retries) + 2)
    return [config_of_attempt(config, attempt).pairs.rejected_from for attempt in attempts]
