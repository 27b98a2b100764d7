"""The config of a campaign: one YAML file, overridden by --set, checked before anything starts."""

from flows.config.campaign import CampaignConfig
from flows.config.data import DataConfig, KeepLast, LastRounds, MixRounds
from flows.config.reading import dump_config, load_config, validate
from flows.config.stored import check_is_campaign, read_stored
from flows.config.user_code import check_functions

__all__ = [
    "CampaignConfig",
    "DataConfig",
    "KeepLast",
    "LastRounds",
    "MixRounds",
    "check_functions",
    "check_is_campaign",
    "dump_config",
    "load_config",
    "read_stored",
    "validate",
]
