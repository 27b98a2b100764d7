"""Configuration of pair selection. Loading it imports nothing heavy."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.config import Count, Section

StrategyName = Literal[
    "best_worst", "best_random", "best_second", "random", "all_over_margin", "length_aware"
]


class RoundPolicy(Section):
    """The policy that an earlier `round` trained, whether it was promoted or not; 0: the base."""

    round: int = Field(ge=0)


class PairsConfig(Section):
    """Which completions of a prompt are compared."""

    strategy: StrategyName = Field(
        "best_worst",
        description="the best answer against the worst, a random one or the second; two random "
        "ones; all pairs whose score difference is above min_margin; length_aware: the pair with "
        "the largest margin once length is paid for",
    )
    min_margin: float = Field(
        0.0, ge=0, description="a pair whose score difference is not above it is dropped"
    )
    max_per_prompt: Count | None = Field(
        None, description="all_over_margin: at most this many of a prompt, the widest; none: all"
    )
    margin_per_token: float = Field(
        0.0,
        ge=0,
        description="length_aware: the score difference that a token of difference in length is "
        "worth; it is taken off where the better answer is the longer",
    )
    truncated: Literal["drop", "avoid", "reject", "keep"] = Field(
        "drop",
        description="answers cut at the length limit: drop the pairs they are in; avoid them when "
        "pairs are chosen; reject: one may lose to a finished answer and never wins; or keep them",
    )
    rejected_from: str | RoundPolicy | None = Field(
        None,
        description="whose answers are rejected: a model, by its folder or its id on the hub, or "
        "{round: k}, the policy that an earlier round trained; it answers the same prompts, and a "
        "pair is an answer of the policy's with a lower-scored one of its; none: the policy's own",
    )

    @field_validator("rejected_from", mode="before")
    @classmethod
    def _rejected_from(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        if value is None or isinstance(value, RoundPolicy) or _names_model(value):
            return value
        k = value.get("round") if isinstance(value, dict) and len(value) == 1 else None
        if type(k) is int and k >= 0:
            return value
        raise ValueError(
            "pairs.rejected_from must be the folder of a model, its id on the hub, or {round: k} "
            f"with a k of at least 0 (found {value!r})"
        )

    @model_validator(mode="after")
    def _possible(self) -> "PairsConfig":
        if self.strategy == "random" and self.min_margin > 0:
            raise ValueError(
                "pairs.min_margin is a difference of scores, which pairs.strategy random does not "
                "look at: remove it, or set the strategy to best_worst"
            )
        if self.strategy == "length_aware" and self.margin_per_token == 0:
            raise ValueError(
                "pairs.strategy length_aware needs pairs.margin_per_token, the score difference "
                "that a token is worth: give it, or set the strategy to best_worst"
            )
        for key, value, strategy in (
            ("margin_per_token", self.margin_per_token, "length_aware"),
            ("max_per_prompt", self.max_per_prompt, "all_over_margin"),
        ):
            if value and self.strategy != strategy:
                raise ValueError(
                    f"pairs.{key} belongs to pairs.strategy {strategy} (found {self.strategy}): "
                    "remove it, or change the strategy"
                )
        return self


def _names_model(value: Any) -> bool:
    """A GGUF file is none that engines read."""
    return isinstance(value, str) and bool(value.strip()) and not value.endswith(".gguf")
