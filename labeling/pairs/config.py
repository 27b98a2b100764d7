"""Configuration of pair selection. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Section

StrategyName = Literal[
    "best_worst", "best_random", "best_second", "random", "all_over_margin", "length_aware"
]


class PairsConfig(Section):
    """Which completions of a prompt are compared."""

    strategy: StrategyName = "best_worst"
    min_margin: float = Field(
        0.0, ge=0, description="a pair whose score difference is not above it is dropped"
    )
    margin_per_token: float = Field(
        0.0,
        ge=0,
        description="length_aware: the score difference that a token of difference in length is "
        "worth; it is taken off the longer answer",
    )
    truncated: Literal["drop", "avoid", "keep"] = Field(
        "drop",
        description="answers cut at the length limit: drop the pairs they are in, avoid them when "
        "pairs are chosen, or keep them",
    )
