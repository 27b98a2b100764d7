"""Whose answers a campaign rejects: `pairs.rejected_from` of the config and of its attempts."""

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.errors import ConfigError
from flows.config.attempts import under_attempt
from flows.config.campaign import CampaignConfig
from labeling.pairs.config import RoundPolicy


def rejected_rounds(config: CampaignConfig) -> set[int]:
    """Rounds whose policies answer beside the later ones."""
    return {named.round for named in _named(config) if isinstance(named, RoundPolicy)}


def rejected_models(config: CampaignConfig) -> list[str]:
    """Models that do."""
    return list(dict.fromkeys(named for named in _named(config) if isinstance(named, str)))


def check_rejected_rounds(config: CampaignConfig, first: int) -> None:
    """Raise ConfigError for a policy that is not there yet in round `first`, which is the first to
    run under this config."""
    late = [number for number in sorted(rejected_rounds(config)) if number >= first]
    if late:
        raise ConfigError(
            f"pairs.rejected_from: round {first} would reject answers of round {late[0]}'s policy, "
            "which is not trained by then",
            f"Name a round before round {first}, 0 for the base; or run the campaign without it "
            f"through round {late[0]}, and go on with ratchet branch CAMPAIGN_DIR --from-round "
            f"{late[0]} --set pairs.rejected_from.round={late[0]}.",
        )


def first_round(layout: Layout) -> int:
    """The first round that runs under the config of the campaign in a folder: a branch has the
    rounds before from another."""
    origin = read_origin(layout)
    return 1 if origin is None else origin.round + 1


def _named(config: CampaignConfig) -> list[str | RoundPolicy | None]:
    attempts = range(1, len(config.gate.retries) + 2)
    return [under_attempt(config, attempt).pairs.rejected_from for attempt in attempts]
