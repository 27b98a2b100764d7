"""Section `training`, and the values chosen for omitted keys.

docs/training.md has the source of every number.
"""

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dpo_core.config import Count, Positive, Section, Share, TrainingConfig, TrainingOptions
from dpo_core.text import counted


class KeepLast(Section):
    """Keep the weights of the last rounds, and always those of the promoted policy."""

    last: Count = Field(description="rounds whose weights are kept")


class Mix(Section):
    """Relative weights of a round's training pairs by their origin; only ratios count."""

    latest: Positive = Field(1.0, description="weight of this round's own pairs")
    earlier: float = Field(0.0, ge=0, description="weight of pairs of earlier rounds")
    imported: float = Field(0.0, ge=0, description="weight of imported pairs")


class MixRounds(Section):
    """Pairs of all rounds, in the shares of `mix`."""

    mix: Mix


class LastRounds(Section):
    """Pairs of the `last` rounds, this one counted."""

    last: Count = Field(description="rounds whose pairs are trained on, this one included")


class DataConfig(Section):
    """Which preferences a round trains on."""

    rounds: Literal["latest", "all"] | LastRounds | MixRounds = Field(
        "latest",
        description="latest: this round's; all: earlier rounds' too; last: k, the last k rounds'; "
        "mix: {latest: 0.7, earlier: 0.3, imported: 0}, in these shares",
    )
    imported: str | None = Field(
        None, description="folder from `ratchet import`: round 1 trains on it, without sampling"
    )

    @field_validator("rounds", mode="before")
    @classmethod
    def _rounds(cls, value: Any) -> Any:
        """One message for a wrong value, instead of one for each member of the union."""
        kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
        if value in ("latest", "all") or kind in ("last", "mix") or isinstance(value, Section):
            return value
        raise ValueError(
            "data.rounds must be latest, all, last: k, or mix: {latest: 0.7, earlier: 0.3} "
            f"(found {value!r})"
        )


AUTO = "auto"
MULTIPLE = re.compile(r"(\d+(?:\.\d+)?)\s*[x×]")
"""A multiple of another value, such as 2x."""

Automatic = Literal["auto"] | Annotated[str, Field(pattern=rf"^{MULTIPLE.pattern}$")]
"""The automatic value, or a multiple of it."""

BETA = 0.1
BETAS: Mapping[str, float] = {"sigmoid_norm": 5.0, "simpo": 2.0, "sppo_hard": 0.001}
"""loss → its default `beta`, where it differs from BETA."""

LEARNING_RATES = ((1e6, 2e-4), (135e6, 1e-5), (7e9, 5e-7))
"""(parameters, learning rate of full weights): interpolated linearly in log-log, constant beyond
the ends."""

LORA_FACTOR = 10.0
WARMUP_SHARE = 0.1
LARGE_STEP, SMALL_STEP, LEAST_STEPS = 128, 32, 10


class TrainingSection(TrainingOptions):
    """Section `training` of a campaign: `resolve_training` fills in numbers left open."""

    learning_rate: Positive | Automatic = Field(
        AUTO,
        description="auto: by the number of parameters, ten times that for adapters; 0.5x: half "
        "of auto",
    )
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="optimiser steps of linear warm-up; null: `warmup_share` of them"
    )
    warmup_share: Share | None = Field(
        None,
        description="share of the round's optimiser steps; null, without warmup_steps: a tenth",
    )
    pairs_per_step: Count | Automatic = Field(
        AUTO,
        description="pairs of one optimiser step; auto: 128 if that gives a round at least 10 "
        "steps, else 32",
    )

    @model_validator(mode="before")
    @classmethod
    def _beta_of_its_loss(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "beta" not in raw:
            loss = raw.get("loss")
            return {**raw, "beta": BETAS.get(loss, BETA) if isinstance(loss, str) else BETA}
        return raw

    @field_validator("learning_rate", "pairs_per_step", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any, info: ValidationInfo) -> Any:
        """One message for a wrong value, instead of one for each member of the union."""
        whole = info.field_name == "pairs_per_step"
        if (
            value == AUTO
            or (isinstance(value, str) and _read_multiple(value))
            or _is_number(value, whole)
        ):
            return value.replace(" ", "") if isinstance(value, str) else value
        kind = "a whole number of at least 1" if whole else "a finite number above 0"
        raise ValueError(
            f"training.{info.field_name} must be {kind}, auto, or a multiple of auto such as 0.5x "
            f"(found {value!r})"
        )

    @model_validator(mode="after")
    def _one_warmup(self) -> "TrainingSection":
        if self.warmup_steps and self.warmup_share is not None:
            raise ValueError(
                f"training.warmup_steps {self.warmup_steps} and training.warmup_share "
                f"{self.warmup_share:g} both set the warm-up: remove one of the two"
            )
        return self

    @property
    def asks_for_parameters(self) -> bool:
        """Whether the learning rate depends on the policy's size, which must then be known."""
        return isinstance(self.learning_rate, str)


def resolve_training(
    asked: TrainingSection, pairs: int, parameters: int | None = None
) -> TrainingConfig:
    """The training config of a round, with all numbers filled in.

    Args:
        asked: Section of the campaign's config.
        pairs: Number of pairs that the round trains on.
        parameters: The policy's, needed if `asks_for_parameters`; None takes the lowest rate.
    """
    per_step = asked.pairs_per_step
    if isinstance(per_step, str):
        per_step = max(1, round(_read_multiple(per_step) * pairs_per_step(pairs, asked.epochs)))
    rate = asked.learning_rate
    if isinstance(rate, str):
        rate = _read_multiple(rate) * learning_rate(parameters, adapters=asked.lora is not None)
    warmup = asked.warmup_steps
    if asked.warmup_share is not None or warmup is None:
        share = WARMUP_SHARE if asked.warmup_share is None else asked.warmup_share
        warmup = math.ceil(share * asked.epochs * math.ceil(pairs / per_step) - 1e-9)
    given = asked.model_dump(exclude={"warmup_share"})
    numbers = {"learning_rate": rate, "warmup_steps": warmup, "pairs_per_step": per_step}
    return TrainingConfig.model_validate({**given, **numbers})


def describe_chosen(asked: TrainingSection, config: TrainingConfig, parameters: int | None) -> str:
    """A sentence with β and the numbers that the section left open; empty if there are none."""
    parts = []
    if asked.asks_for_parameters:
        size = "a policy of unknown size" if parameters is None else f"{parameters:,} parameters"
        parts.append(f"learning rate {config.learning_rate:g} for {size}")
    if isinstance(asked.pairs_per_step, str):
        parts.append(f"{config.pairs_per_step} pairs per step")
    if asked.warmup_steps is None:
        parts.append(f"warm-up of {counted(config.warmup_steps, 'step')}")
    return ", ".join([*parts, f"β {config.beta:g} of loss {config.loss}"] if parts else [])


def learning_rate(parameters: int | None, *, adapters: bool) -> float:
    """The automatic rate for a number of parameters, to two digits; None: the lowest."""
    size = max(LEARNING_RATES[0][0], min(parameters or math.inf, LEARNING_RATES[-1][0]))
    (small, high), (large, low) = next(p for p in pairwise(LEARNING_RATES) if size <= p[1][0])
    rate = high * (low / high) ** (math.log(size / small) / math.log(large / small))
    return float(f"{rate * (LORA_FACTOR if adapters else 1):.1e}")


def pairs_per_step(pairs: int, epochs: int) -> int:
    """Large steps if there are enough of them. The last step of an epoch may be smaller."""
    steps = epochs * math.ceil(pairs / LARGE_STEP)
    return LARGE_STEP if steps >= LEAST_STEPS else SMALL_STEP


def _read_multiple(value: str) -> float:
    """The multiple of the automatic value that a text asks for; 0 if it is not one."""
    match = MULTIPLE.fullmatch(value.strip())
    return 1.0 if value == AUTO else float(match[1]) if match else 0.0


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and (number >= 1 and number.is_integer() if whole else number > 0)
