"""How much a round may sample, where it draws prompts until enough pairs are there."""

from collections.abc import Iterator

from flows.config import CampaignConfig
from flows.doctor.findings import Finding, note, ok

_WHERE = "sampling.until_pairs"


def check_draws(config: CampaignConfig, train: int) -> Iterator[Finding]:
    """The most that a round samples, and whether that can be enough; train: prompts that there are
    to train on."""
    goal = config.goal
    if goal is None:
        return
    full = goal.budget_tokens // goal.tokens_per_prompt
    what = (
        f"a round draws prompts until {goal.pairs:,} pairs are there, and samples at most about "
        f"{goal.budget_tokens:,} tokens: {full:,} prompts if all answers are at full length"
    )
    if _one_each(config) and goal.pairs > min(full, train):
        yield note(
            "draws",
            f"{what}; of {min(full, train):,} prompts, each of which gives one pair at most, "
            "there are not so many",
            _WHERE,
            "Lower sampling.until_pairs, or raise sampling.budget_tokens and give more prompts: "
            "else rounds go on with fewer pairs.",
        )
    else:
        yield ok("draws", what, _WHERE)


def _one_each(config: CampaignConfig) -> bool:
    return config.pairs.strategy != "all_over_margin"
