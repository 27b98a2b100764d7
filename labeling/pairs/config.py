"""Configuration of pair selection. Loading it imports nothing heavy."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.config import Count, Section

StrategyName = Literal[
    "best_worst", "best_random", "best_second", "random", "all_over_margin", "length_aware"
]


class RoundPolicy(Section):
    """The policy that an earlier `round` trained, promoted or not; 0: the base policy."""

    round: int = Field(ge=0, description="round whose policy it is; 0: the base")


class PairsConfig(Section):
    """Which completions of a prompt are compared."""

    strategy: StrategyName = Field(
        "best_worst",
        description="the best answer against the worst, a random one or the second best; two "
        "random ones; all pairs whose score difference is above min_margin; length_aware: the pair "
        "with the largest length-adjusted margin",
    )
    min_margin: float = Field(
        0.0, ge=0, description="pairs whose score difference is not above it are dropped"
    )
    max_per_prompt: Count | None = Field(
        None,
        description="all_over_margin: most pairs per prompt, those with the widest margins; "
        "none: all",
    )
    margin_per_token: float = Field(
        0.0,
        ge=0,
        description="length_aware: score penalty per token by which the better answer is longer",
    )
    truncated: Literal["auto", "drop", "avoid", "reject", "keep"] = Field(
        "auto",
        description="answers cut at the length limit: drop their pairs; avoid them when selecting "
        "pairs; reject: they may lose to a finished answer and never win; keep them; auto: reject "
        "if the judge scores, else drop",
    )
    rejected_from: str | RoundPolicy | None = Field(
        None,
        description="model whose answers are the rejected ones (delta learning): a folder or an id "
        "on the hub, or {round: k}, the policy that an earlier round trained; it answers the same "
        "prompts, and a pair is an answer of the policy with a lower-scored one of the model; "
        "none: the policy itself",
    )

    @field_validator("rejected_from", mode="before")
    @classmethod
    def _rejected_from(cls, value: Any) -> Any:
        """Give one message for a wrong value, instead of one per type of the union."""
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
                "pairs.min_margin is a difference of scores, which pairs.strategy random ignores: "
                "remove it, or set the strategy to best_worst"
            )
        if self.strategy == "length_aware" and self.margin_per_token == 0:
            raise ValueError(
                "pairs.strategy length_aware needs pairs.margin_per_token, the score penalty per "
                "token: set it, or set the strategy to best_worst"
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
    """Whether `value` can name a model; engines do not read GGUF files."""
    return isinstance(value, str) and bool(value.strip()) and not value.endswith(".gguf")
