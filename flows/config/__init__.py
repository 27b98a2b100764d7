"""The config of a campaign: one YAML file, overridden by --set, checked before anything starts."""

from dpo_core.gate.config import GateConfig, StopConfig
from flows.config.attempts import changes_of, under_attempt
from flows.config.campaign import CampaignConfig
from flows.config.paths import check_functions
from flows.config.raw import validate
from flows.config.reading import dump_config, load_config, overridden
from flows.config.stored import check_is_campaign, config_of_round, read_stored
from flows.config.training import DataConfig, KeepLast, LastRounds, MixRounds

__all__ = [
    "CampaignConfig",
    "DataConfig",
    "GateConfig",
    "KeepLast",
    "LastRounds",
    "MixRounds",
    "StopConfig",
    "changes_of",
    "check_functions",
    "check_is_campaign",
    "config_of_round",
    "dump_config",
    "load_config",
    "overridden",
    "read_stored",
    "under_attempt",
    "validate",
]
