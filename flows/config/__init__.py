"""A campaign's config: one YAML file, overridden by --set, checked before anything starts."""

from flows.config.attempts import config_of_attempt, describe_attempt
from flows.config.campaign import CampaignConfig
from flows.config.paths import check_functions
from flows.config.raw import validate
from flows.config.reading import (
    check_is_campaign,
    config_of_round,
    dump_config,
    load_config,
    override_config,
    read_stored,
)
from flows.config.training import DataConfig, KeepLast, LastRounds, MixRounds

__all__ = [
    "CampaignConfig",
    "DataConfig",
    "KeepLast",
    "LastRounds",
    "MixRounds",
    "describe_attempt",
    "check_functions",
    "check_is_campaign",
    "config_of_round",
    "dump_config",
    "load_config",
    "override_config",
    "read_stored",
    "config_of_attempt",
    "validate",
]
