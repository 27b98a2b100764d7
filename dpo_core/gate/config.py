"""Sections `gate` and `stop`: what promotes a policy, and what ends a campaign early."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dpo_core.config import Count, Positive, PositiveShare, Section, Share

Range = tuple[Positive, Positive]
"""Lowest and highest allowed ratio of two numbers."""

Refusal = Literal["keep", "rollback", "ask", "stop"]


class RetryConfig(Section):
    """A rejected round is retried with changed keys, once for each entry of `changes`."""

    changes: Annotated[list[dict[str, object]], Field(min_length=1)] = Field(
        description="one mapping per attempt, from config keys to values, as {training.beta: 3.0}; "
        "2x is twice the number in the config"
    )
    attempts: Count | None = Field(None, description="how many of the changes to try; null: all")
    then: Refusal = Field("keep", description="what happens if every attempt is rejected")

    @model_validator(mode="after")
    def _listed(self) -> "RetryConfig":
        if self.attempts is not None and self.attempts > len(self.changes):
            raise ValueError(
                f"gate.retry.attempts {self.attempts} exceeds the {len(self.changes)} of "
                "gate.retry.changes: an attempt without a change repeats the one before it; list a "
                "change for each, or lower attempts"
            )
        if not all(self.changes):
            raise ValueError("gate.retry.changes: each attempt must change at least one key")
        return self

    @property
    def used(self) -> list[dict[str, object]]:
        """The changes that are tried."""
        return self.changes[: self.attempts]


class GateConfig(Section):
    """When a trained policy replaces the last promoted one, and what happens otherwise."""

    win_rate: Literal["plain", "length_controlled"] = Field(
        "plain",
        description="the win rate that decides, against the last promoted policy on gate prompts",
    )
    use: Literal["lower", "estimate"] = Field(
        "lower",
        description="what must exceed `threshold`: the lower end of the win rate's interval, or "
        "the estimate itself",
    )
    threshold: Share = Field(0.5, description="win rate that a promoted policy must exceed")
    decided_share: PositiveShare | None = Field(
        0.9,
        description="lowest share of the gate comparisons, and of each suite's answers, that must "
        "be decided; an answer that could not be judged then loses. null: no limit, and answers "
        "that could not be judged are left out",
    )
    kl_budget: Positive | Literal["auto"] | None = Field(
        "auto",
        description="highest KL to the base, nats per completion; auto: half a nat per token of "
        "the base's mean length, and no limit if the KL cannot be measured",
    )
    length: Range | None = Field(
        (0.5, 2.0),
        description="lowest and highest mean length, as a multiple of the last promoted policy's",
    )
    length_base: Range | None = Field(
        (0.33, 3.0), description="lowest and highest mean length, as a multiple of the base's"
    )
    truncated_rise: Share | None = Field(
        0.05,
        description="highest rise of the share of truncated answers over the last promoted "
        "policy's and over the base's",
    )
    empty_share: Share | None = Field(
        0.01,
        description="highest share of empty answers, or the last promoted policy's share if higher",
    )
    repetition_rise: Share | None = Field(
        0.1,
        description="highest rise of the share of repeated token n-grams over the last promoted "
        "policy's and over the base's",
    )
    relevance_fall: Share | None = Field(
        0.05,
        description="highest fall of the share of answers that match their prompts, from the last "
        "promoted policy's and from the base's; see `evaluation.relevance`",
    )
    false_promotions: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="highest probability, over the whole campaign, that the gate ever promotes a "
        "policy that is not better than the one before; a sequential test then decides, which "
        "samples more gate prompts as needed. null: every decision uses the same gate prompts",
    )
    at_most_prompts: Count | None = Field(
        None,
        description="with `false_promotions`, most gate prompts of one decision; null: four times "
        "`evaluation.gate_prompts`",
    )
    when_used_up: Literal["not_certified", "gate_set"] = Field(
        "not_certified",
        description="with `false_promotions`, what decides if no unused gate prompts are left; "
        "not_certified: the interval; gate_set: a test on fresh answers to the first gate prompts, "
        "whose claim covers these prompts only",
    )
    otherwise: Literal["keep", "retry", "rollback", "ask", "stop"] = Field(
        "keep",
        description="what happens if the policy is rejected; keep: the next round starts from the "
        "last promoted one; retry: see `retry`; rollback: the next round starts from the best "
        "round; ask: a person decides; stop: the campaign ends",
    )
    retry: RetryConfig | None = None

    @field_validator("kl_budget", mode="before")
    @classmethod
    def _kl_budget(cls, value: Any) -> Any:
        """One error for a wrong value, instead of pydantic's one per member of the union."""
        if value in (None, "auto") or (_is_number(value) and value > 0):
            return value
        raise ValueError(
            "gate.kl_budget must be auto, a number of nats above 0, or null for no limit "
            f"(found {value!r})"
        )

    @field_validator("length", "length_base", mode="before")
    @classmethod
    def _lengths(cls, value: Any, info: ValidationInfo) -> Any:
        """One error as well."""
        if value is None or (_is_range(value) and 0 < value[0] <= 1 <= value[1]):
            return value
        raise ValueError(
            f"gate.{info.field_name} must be [least, most] with 1 between the two, as in [0.5, 2], "
            f"or null for no limit (found {value!r})"
        )

    @model_validator(mode="after")
    def _retries(self) -> "GateConfig":
        if self.otherwise == "retry" and self.retry is None:
            raise ValueError(
                "gate.otherwise retry needs the changes to try: list them, as in "
                "gate: {otherwise: retry, retry: {changes: [{training.beta: 2x}]}}"
            )
        if self.otherwise != "retry" and self.retry is not None:
            raise ValueError(
                f"gate.retry has no effect with gate.otherwise {self.otherwise}: remove it, or set "
                "gate.otherwise to retry"
            )
        return self

    @model_validator(mode="after")
    def _certified(self) -> "GateConfig":
        if self.false_promotions is None and self.at_most_prompts is not None:
            raise ValueError(
                f"gate.at_most_prompts {self.at_most_prompts} has no effect without "
                "gate.false_promotions: remove it, or set gate.false_promotions to 0.05"
            )
        if self.false_promotions is None and self.when_used_up != "not_certified":
            raise ValueError(
                f"gate.when_used_up {self.when_used_up} has no effect without "
                "gate.false_promotions: remove it, or set gate.false_promotions to 0.05"
            )
        if self.false_promotions is not None and self.use == "estimate":
            raise ValueError(
                f"gate.use estimate conflicts with gate.false_promotions "
                f"{self.false_promotions:g}, which decides by a test: set gate.use to lower, or "
                "remove gate.false_promotions"
            )
        return self

    @property
    def retries(self) -> list[dict[str, object]]:
        """The changes of each attempt after the first one."""
        return self.retry.used if self.retry is not None else []

    @property
    def last_resort(self) -> Refusal:
        """What happens to a rejected policy that is not retried."""
        if self.otherwise == "retry":
            assert self.retry is not None, "checked by _retries"
            return self.retry.then
        return self.otherwise


def gate_recipe(gate: GateConfig) -> dict[str, object]:
    """What a decision depends on. Checks of later versions are included only if they are enabled,
    so that older decisions stay valid."""
    unused = _CERTIFICATION_KEYS if gate.false_promotions is None else ()
    keys = gate.model_dump(mode="json", exclude=set(unused))
    return {k: v for k, v in keys.items() if v is not None or k not in _LATER_CHECKS}


_CERTIFICATION_KEYS = ("false_promotions", "at_most_prompts", "when_used_up")
_LATER_CHECKS = (
    "decided_share",
    "length",
    "length_base",
    "truncated_rise",
    "empty_share",
    "repetition_rise",
    "relevance_fall",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))


class PlateauConfig(Section):
    """Stop after `rounds` rounds in a row without a promoted policy that gains more than `gain`."""

    rounds: Count = Field(
        description="rounds in a row without a promoted policy that gained more than `gain`"
    )
    gain: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="gain of the win rate against the base on gate prompts, as a share",
    )


class StopConfig(Section):
    """When a campaign ends early. Budgets are checked before each round."""

    rounds: Count | None = Field(
        None, description="of the whole campaign, including rounds that a schedule adds"
    )
    plateau: PlateauConfig | None = Field(
        None, description="{rounds: k, gain: x}; k alone means gain 0"
    )
    gpu_hours: Positive | None = Field(None, description="GPU-hours of all finished rounds")
    labels: Count | None = Field(
        None, description="human labels; those of all judges if no person is asked"
    )
    money: Positive | None = Field(None, description="in the currency of `prices`")
    hours: Positive | None = Field(None, description="wall time of all rounds, hours")

    @field_validator("plateau", mode="before")
    @classmethod
    def _plateau(cls, value: Any) -> Any:
        return {"rounds": value} if type(value) is int else value
