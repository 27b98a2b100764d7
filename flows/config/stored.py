"""The resolved config that a campaign's folder holds."""

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from flows.config.campaign import CampaignConfig
from flows.config.defaults import DEFAULTS, FIRST, with_defaults
from flows.config.raw import read_yaml, validate

_HEAL = "Copy the config that it was run with to this place; the same `ratchet run` then goes on."


def check_is_campaign(layout: Layout) -> None:
    """Raise BadInput for a folder that holds no campaign."""
    if not layout.config.exists():
        raise BadInput(
            f"{layout.root} is not a campaign: it has no {layout.config.name}",
            "Give the folder of a campaign; `ratchet run CONFIG` makes one.",
        )


def read_stored(layout: Layout) -> CampaignConfig:
    """The config of the campaign on disk. Raises BadInput where there is none."""
    check_is_campaign(layout)
    return validate(read_stored_text(layout)[1], str(layout.config))


def read_stored_text(layout: Layout) -> tuple[str, dict[str, Any]]:
    """campaign.yaml as it stands; and its keys and values, those included that have other defaults
    since it was written.

    Raises BadInput where somebody else's hand left no config there.
    """
    text, raw = _read(layout)
    return text, with_defaults(raw, FIRST)


def made_under(layout: Layout) -> int:
    """The version of the defaults of the campaign in a folder; of today, where there is none."""
    if not os.path.isfile(layout.config):  # nor where its name is none that a file can have
        return DEFAULTS
    version = _read(layout)[1].get("defaults", FIRST)
    return version if type(version) is int else FIRST


def _read(layout: Layout) -> tuple[str, dict[str, Any]]:
    try:
        text, raw = read_yaml(layout.config)
    except ConfigError as error:
        raise ConfigError(error.message, _HEAL) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{layout.config} holds no campaign's config", _HEAL)
    return text, raw


def config_of_round(layout: Layout, config: CampaignConfig, number: int) -> CampaignConfig:
    """The config that a round runs under: in a branch, the rounds that came along keep theirs."""
    origin = read_origin(layout)
    own = origin.config_of(number) if origin is not None else None
    return config if own is None else validate_recorded(own, str(layout.branch))


def validate_recorded(config: Mapping[str, Any], where: str) -> CampaignConfig:
    """A config that was written when rounds ran under it."""
    return validate(with_defaults(deepcopy(dict(config)), FIRST), where)


def planned_rounds(raw: Mapping[str, Any]) -> int:
    """Rounds of the campaign whose campaign.yaml holds `raw`."""
    rounds: int = raw.get("rounds", CampaignConfig.model_fields["rounds"].default)
    return rounds
