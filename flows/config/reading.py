"""From a YAML file and --set to a config, and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dpo_core.errors import ConfigError
from flows.config.attempts import check_retries
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.paths import check_files, resolve
from flows.config.raw import set_key, validate


def load_config(path: Path, overrides: Sequence[str] = ()) -> CampaignConfig:
    """Read `path`, apply `key.sub=value` overrides, resolve paths, validate.

    Relative paths inside the config are taken from the current directory, as a shell would.
    Raises ConfigError that names the key and the remedy.
    """
    return overridden(_read_yaml(path), overrides, str(path))


def overridden(raw: dict[str, Any], overrides: Sequence[str], source: str) -> CampaignConfig:
    """The config of what was read from `source`, with `key.sub=value` overrides; as `load_config`.

    `raw` is changed.
    """
    for override in overrides:
        _apply(raw, override)
    raw = resolve(raw)
    config = validate(raw, source)
    check_loss(config.training, source)
    check_files(config)
    check_retries(config)
    return config


def dump_config(config: CampaignConfig) -> str:
    """The resolved config as YAML: every key, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read config {path}: {error.strerror}", "Check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, found {type(raw).__name__}")
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example training.beta=0.2")
    try:
        set_key(raw, key.strip(), yaml.safe_load(value), f"--set {override}")
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None
