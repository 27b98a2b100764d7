"""Sections `gate` and `stop`: what a new policy must show, and when a campaign ends."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dpo_core.config import Count, Positive, PositiveShare, Section, Share

Range = tuple[Positive, Positive]
"""Least and most of what a number may be, as multiples of another."""

Refusal = Literal["keep", "rollback", "ask", "stop"]


class RetryConfig(Section):
    """A refused round is run again under changed keys, once for each entry of `changes`."""

    changes: Annotated[list[dict[str, Any]], Field(min_length=1)] = Field(
        description="config keys with their values, one mapping per attempt, as {training.beta: "
        "3.0}; 2x is twice the number that the config has"
    )
    attempts: Count | None = Field(None, description="how many of them are made; none: all")
    then: Refusal = Field("keep", description="what happens when all of them were refused")

    @model_validator(mode="after")
    def _listed(self) -> "RetryConfig":
        if self.attempts is not None and self.attempts > len(self.changes):
            raise ValueError(
                f"gate.retry.attempts {self.attempts} is more than the {len(self.changes)} of "
                "gate.retry.changes: without a change an attempt would repeat the one before it; "
                "list a change for each, or lower attempts"
            )
        if not all(self.changes):
            raise ValueError("gate.retry.changes: each attempt changes at least one key")
        return self

    @property
    def used(self) -> list[dict[str, Any]]:
        """The changes of the attempts that are made."""
        return self.changes[: self.attempts]


class GateConfig(Section):
    """Whether the trained policy replaces the last promoted one, and what happens otherwise."""

    win_rate: Literal["plain", "length_controlled"] = Field(
        "plain", description="which win rate against the last promoted policy, on gate prompts"
    )
    use: Literal["lower", "estimate"] = Field(
        "lower",
        description="what of it must exceed `threshold`: the lower end of its interval, "
        "or the estimate itself",
    )
    threshold: Share = 0.5
    decided_share: PositiveShare | None = Field(
        0.9,
        description="least share of the gate comparisons, and of each suite's answers, that must "
        "be decided; with it an answer that could not be judged loses. null: any share will do, "
        "and what could not be judged is left out",
    )
    kl_budget: Positive | Literal["auto"] | None = Field(
        "auto",
        description="KL to the base that is allowed, nats per completion; auto: half a nat for "
        "each token of the base's mean length, and no limit where KL cannot be measured",
    )
    length: Range | None = Field(
        (0.5, 2.0),
        description="least and most that the mean length may be of the last promoted policy's",
    )
    length_base: Range | None = Field(
        (0.33, 3.0), description="least and most that the mean length may be of the base's"
    )
    truncated_rise: Share | None = Field(
        0.05,
        description="by how much the share of truncated answers may lie above the last promoted "
        "policy's, and above the base's",
    )
    empty_share: Share | None = Field(
        0.01, description="most share of empty answers, unless the last promoted policy has more"
    )
    repetition_rise: Share | None = Field(
        0.1,
        description="by how much the share of repeated runs of tokens may lie above the last "
        "promoted policy's, and above the base's",
    )
    relevance_fall: Share | None = Field(
        0.05,
        description="by how much the share of answers whose request the base finds may lie below "
        "the last promoted policy's, and below the base's; see `evaluation.relevance`",
    )
    false_promotions: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="the chance, over the whole campaign, that the gate promotes a policy that is "
        "not better than the one before: it decides by a test that keeps to this, and samples more "
        "gate prompts until it knows; null: it looks at the same gate prompts every time",
    )
    at_most_prompts: Count | None = Field(
        None,
        description="gate prompts of one decision, with `false_promotions`; null: four times "
        "`evaluation.gate_prompts`",
    )
    when_used_up: Literal["not_certified", "gate_set"] = Field(
        "not_certified",
        description="with `false_promotions`, where no unused gate prompts are left; "
        "not_certified: the interval decides; gate_set: a test on fresh answers to the first gate "
        "prompts, which speaks of these prompts alone",
    )
    otherwise: Literal["keep", "retry", "rollback", "ask", "stop"] = Field(
        "keep",
        description="what happens to a refused policy; keep: the next round starts from the last "
        "promoted one; retry: see `retry`; rollback: the next round starts from the best round; "
        "ask: a person says yes or no; stop: the campaign ends",
    )
    retry: RetryConfig | None = None

    @field_validator("kl_budget", mode="before")
    @classmethod
    def _kl_budget(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        if value in (None, "auto") or (_is_number(value) and value > 0):
            return value
        raise ValueError(
            "gate.kl_budget must be auto, a number of nats above 0, or null for no limit "
            f"(found {value!r})"
        )

    @field_validator("length", "length_base", mode="before")
    @classmethod
    def _lengths(cls, value: Any, info: ValidationInfo) -> Any:
        """Likewise."""
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
                "gate.otherwise retry needs to know what to change: list it, as in "
                "gate: {otherwise: retry, retry: {changes: [{training.beta: 2x}]}}"
            )
        if self.otherwise != "retry" and self.retry is not None:
            raise ValueError(
                f"gate.retry is not used with gate.otherwise {self.otherwise}: remove it, or set "
                "gate.otherwise to retry"
            )
        return self

    @model_validator(mode="after")
    def _certified(self) -> "GateConfig":
        if self.false_promotions is None and self.at_most_prompts is not None:
            raise ValueError(
                f"gate.at_most_prompts {self.at_most_prompts} limits what gate.false_promotions "
                "asks for, which is not given: remove it, or set gate.false_promotions to 0.05"
            )
        if self.false_promotions is None and self.when_used_up != "not_certified":
            raise ValueError(
                f"gate.when_used_up {self.when_used_up} goes with gate.false_promotions, which is "
                "not given: remove it, or set gate.false_promotions to 0.05"
            )
        if self.false_promotions is not None and self.use == "estimate":
            raise ValueError(
                f"gate.use estimate does not go with gate.false_promotions "
                f"{self.false_promotions:g}, which decides by a test: set gate.use to lower, or "
                "remove gate.false_promotions"
            )
        return self

    @property
    def retries(self) -> list[dict[str, Any]]:
        """The changes of each attempt after the first one."""
        return self.retry.used if self.retry is not None else []

    @property
    def last_resort(self) -> Refusal:
        """What happens to a policy that was refused, when it is not tried again."""
        if self.otherwise == "retry":
            assert self.retry is not None, "checked above"
            return self.retry.then
        return self.otherwise


def gate_recipe(gate: GateConfig) -> dict[str, Any]:
    """What a decision depends on: of checks that there were not always, those that are asked for,
    so that decisions made before there were any stay valid."""
    of_no_test = _CERTIFICATION_KEYS if gate.false_promotions is None else ()
    found = gate.model_dump(mode="json", exclude=set(of_no_test))
    return {k: v for k, v in found.items() if v is not None or k not in _LATER_CHECKS}


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
    """So many rounds in a row without a promoted policy that gains more than `gain`."""

    rounds: Count
    gain: float = Field(
        0.0, ge=0, lt=1, description="of the win rate against the base, on gate prompts"
    )


class StopConfig(Section):
    """When a campaign ends before its last round. Budgets are looked at before each round."""

    rounds: Count | None = Field(
        None, description="of the campaign in all, also where a schedule adds rounds for ever"
    )
    plateau: PlateauConfig | None = Field(
        None, description="rounds: k, gain: x; k alone is a gain above 0"
    )
    gpu_hours: Positive | None = None
    labels: Count | None = Field(
        None, description="people's labels; where nobody is asked, those of all judges"
    )
    money: Positive | None = Field(None, description="in the currency of `prices`")
    hours: Positive | None = Field(None, description="wall time of all rounds")

    @field_validator("plateau", mode="before")
    @classmethod
    def _plateau(cls, value: Any) -> Any:
        return {"rounds": value} if type(value) is int else value
