"""Read a config from a YAML file or a campaign's folder, apply --set, and write it back."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import yaml

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput, ConfigError
from dpo_core.storage.objects import check_url
from dpo_core.storage.uploads import read_stored_config
from flows.config.attempts import check_retries
from flows.config.campaign import CampaignConfig
from flows.config.checks import check_loss
from flows.config.defaults import DEFAULTS, FIRST
from flows.config.paths import check_files, resolve_paths
from flows.config.raw import RawConfig, parse_yaml, read_yaml, validate
from flows.config.schedule import check_times

_RESTORE = "Restore the campaign's config there, then type the same `ratchet run` again."


def check_is_campaign(layout: Layout) -> None:
    """Raise BadInput for a folder that holds no campaign."""
    if not layout.config.exists():
        raise BadInput(
            f"{layout.root} is not a campaign: it has no {layout.config.name}",
            "Give the folder of a campaign; `ratchet run CONFIG` creates one.",
        )


def read_stored(layout: Layout) -> CampaignConfig:
    """The campaign's stored config. Raises BadInput if there is none."""
    check_is_campaign(layout)
    return validate(read_stored_text(layout)[1].values, str(layout.config))


def read_stored_text(layout: Layout) -> tuple[str, RawConfig]:
    """(text of campaign.yaml, its config with the defaults it was written under).

    Raises BadInput if the file holds no config.
    """
    text, raw = _read(layout)
    return text, raw.fill_defaults(FIRST)


def read_defaults_version(layout: Layout) -> int:
    """The campaign's version of the defaults; the current one if there is no campaign yet."""
    if not os.path.isfile(layout.config):  # False as well for a name that no file can have
        return DEFAULTS
    return _version_in(_read(layout)[1])


def _read(layout: Layout) -> tuple[str, RawConfig]:
    try:
        text, raw = read_yaml(layout.config)
    except ConfigError as error:
        raise ConfigError(error.message, _RESTORE) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{layout.config} holds no config", _RESTORE)
    return text, RawConfig(raw)


def config_of_round(layout: Layout, config: CampaignConfig, number: int) -> CampaignConfig:
    """The config that a round runs under: in a branch, inherited rounds keep theirs."""
    origin = read_origin(layout)
    own = origin.config_of(number) if origin is not None else None
    return config if own is None else validate_recorded(own, str(layout.branch))


def validate_recorded(config: Mapping[str, object], where: str) -> CampaignConfig:
    """A recorded config as a CampaignConfig, with the defaults it was recorded under."""
    return validate(RawConfig(deepcopy(dict(config))).fill_defaults(FIRST).values, where)


def planned_rounds(raw: RawConfig) -> int:
    """Number of rounds that a stored config asks for."""
    rounds: int = raw.get("rounds", CampaignConfig.model_fields["rounds"].default)
    return rounds


def load_config(
    path: Path, overrides: Sequence[str] = (), folder: Path | None = None
) -> CampaignConfig:
    """Read a config, apply overrides, resolve paths and validate.

    Args:
        path: YAML file. Relative paths in it start at the current directory, as in a shell.
        overrides: `key.sub=value` each.
        folder: The campaign's folder, if it was named. An existing campaign keeps its defaults.

    Raises:
        ConfigError: Names the key and the remedy.
    """
    _, values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values (found {type(values).__name__})")
    raw = RawConfig(values)
    for override in overrides:
        _apply(raw, override)
    version = _defaults_version(_find_folder(path, raw, folder), raw)
    return _check(raw.fill_defaults(version), str(path))


def _defaults_version(layout: Layout, raw: RawConfig) -> int:
    """That of the campaign: of its folder, or else of its bucket."""
    url = raw.get("storage.url")
    if isinstance(url, str) and not os.path.isfile(layout.config):
        with suppress(ValueError):  # what is wrong with it is told where the config is checked
            check_url(url)
            stored = read_stored_config(url)
            values = parse_yaml(stored, url) if stored is not None else None
            if isinstance(values, dict):
                return _version_in(RawConfig(values))
    return read_defaults_version(layout)


def _version_in(raw: RawConfig) -> int:
    version = raw.get("defaults", FIRST)
    return version if type(version) is int else FIRST


def _find_folder(config: Path, raw: RawConfig, folder: Path | None) -> Layout:
    """The campaign's folder: `folder` if given; the config's own folder if that is a campaign; else
    the default for the config's name."""
    beside = Layout(config.absolute().parent)
    if folder is None and beside.config == config.absolute() and beside.ledger.exists():
        return beside
    return Layout(folder or default_root(str(raw.get("name", ""))))


def override_config(raw: RawConfig, overrides: Sequence[str], source: str) -> CampaignConfig:
    """The config `raw`, read from `source`, and `key.sub=value` overrides.

    Changes `raw`. Raises ConfigError as `load_config` does.
    """
    for override in overrides:
        _apply(raw, override)
    return _check(raw, source)


def _check(raw: RawConfig, source: str) -> CampaignConfig:
    config = validate(resolve_paths(raw).values, source)
    check_loss(config.training, source)
    check_files(config)
    check_times(config.schedule)
    check_retries(config)
    return config


def dump_config(config: CampaignConfig) -> str:
    """The resolved config as YAML: every key, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(raw: RawConfig, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"--set {override}: expected key=value, for example training.beta=0.2")
    try:
        parsed = parse_yaml(value, override)
    except ConfigError:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from None
    raw.set(key.strip(), parsed, f"--set {override}")
