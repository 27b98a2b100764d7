"""Which rounds' preferences a round trains on, and whose weights are kept."""

from typing import Any, Literal

from pydantic import Field, field_validator

from dpo_core.config import Count, Positive, Section


class KeepLast(Section):
    """Keep the weights of the last rounds, and always those of the promoted policy."""

    last: Count


class Mix(Section):
    """Pairs of a round's training by where they come from: weights of which only ratios count."""

    latest: Positive = 1.0
    earlier: float = Field(0.0, ge=0)
    imported: float = Field(0.0, ge=0)


class MixRounds(Section):
    """Pairs of all rounds, in the shares of `mix`."""

    mix: Mix


class LastRounds(Section):
    """Pairs of the `last` rounds, this one counted."""

    last: Count


class DataConfig(Section):
    """Which preferences a round trains on."""

    rounds: Literal["latest", "all"] | LastRounds | MixRounds = Field(
        "latest",
        description="latest: this round's; all: those of earlier rounds too; last: k, of the last "
        "k rounds; mix: {latest: 0.7, earlier: 0.3, imported: 0}, in these shares",
    )
    imported: str | None = Field(
        None, description="folder made by `ratchet import`: round 1 trains on it, without sampling"
    )

    @field_validator("rounds", mode="before")
    @classmethod
    def _rounds(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
        if value in ("latest", "all") or kind in ("last", "mix") or isinstance(value, Section):
            return value
        raise ValueError(
            "data.rounds must be latest, all, last: k, or mix: {latest: 0.7, earlier: 0.3} "
            f"(found {value!r})"
        )
