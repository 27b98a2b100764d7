"""The config of a campaign: one YAML file, overridden by --set, checked before anything starts."""

from flows.config.campaign import CampaignConfig
from flows.config.data import DataConfig, KeepLast, LastRounds, MixRounds
from flows.config.reading import dump_config, load_config, overridden, validate
from flows.config.stored import check_is_campaign, config_of_round, read_stored
from flows.config.user_code import check_functions

__all__ = [
    "CampaignConfig",
    "DataConfig",
    "KeepLast",
    "LastRounds",
    "MixRounds",
    "check_functions",
    "check_is_campaign",
    "config_of_round",
    "dump_config",
    "load_config",
    "overridden",
    "read_stored",
    "validate",
]
