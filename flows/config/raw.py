"""A config as the keys and values that a file holds."""

from typing import Any

from pydantic import ValidationError

from dpo_core.errors import ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.problems import explain


def validate(raw: dict[str, Any], source: str) -> CampaignConfig:
    """`raw` as a CampaignConfig; a ConfigError lists every problem, one per line."""
    try:
        return CampaignConfig.model_validate(raw)
    except ValidationError as error:
        lines = [explain(dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "\n  ".join(lines)) from None


def set_key(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Put `value` at the dotted `key`. Raises ConfigError below something that is no section."""
    *sections, last = key.split(".")
    for name in sections:
        if raw.get(name) is None:
            raw[name] = {}
        raw = raw[name]
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: {name} is a value, it has no keys below it")
    raw[last] = value
