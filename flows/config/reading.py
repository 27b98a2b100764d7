"""From a YAML file and --set to a config, and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dpo_core.errors import ConfigError
from flows.config.attempts import check_retries
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.defaults import folder_of, with_defaults
from flows.config.paths import check_files, resolve
from flows.config.raw import (
    _FOREIGN,
    _TAG,
    _Loader,
    _refuse_kind,
    parse_yaml,
    read_yaml,
    set_key,
    validate,
)
from flows.config.schedule import check_times
from flows.config.stored import made_under

# A day is a text to every key there is: as a date it would be refused, or fail to be one.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != f"{_TAG}timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


for _name in _FOREIGN:
    _Loader.add_constructor(f"{_TAG}{_name}", _refuse_kind)


def load_config(
    path: Path, overrides: Sequence[str] = (), folder: Path | None = None
) -> CampaignConfig:
    """Read `path`, apply `key.sub=value` overrides, resolve paths, validate.

    folder: of the campaign, where it was named; a campaign that is there keeps its defaults.

    Relative paths inside the config are taken from the current directory, as a shell would.
    Raises ConfigError that names the key and the remedy.
    """
    raw = _with(_read_sections(path), overrides)
    return _checked(with_defaults(raw, made_under(folder_of(path, raw, folder))), str(path))


def overridden(raw: dict[str, Any], overrides: Sequence[str], source: str) -> CampaignConfig:
    """The config of what was read from `source`, with `key.sub=value` overrides; as `load_config`.

    `raw` is changed.
    """
    return _checked(_with(raw, overrides), source)


def _checked(raw: dict[str, Any], source: str) -> CampaignConfig:
    config = validate(resolve(raw), source)
    check_loss(config.training, source)
    check_files(config)
    check_times(config.schedule)
    check_retries(config)
    return config


def dump_config(config: CampaignConfig) -> str:
    """The resolved config as YAML: every key, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_sections(path: Path) -> dict[str, Any]:
    _, raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold keys and values, found {type(raw).__name__}")
    return raw


def _with(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw`, which is changed."""
    for override in overrides:
        _apply(raw, override)
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, for example training.beta=0.2")
    try:
        parsed = parse_yaml(value, override)
    except ConfigError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None
    set_key(raw, key.strip(), parsed, f"--set {override}")
