"""Access to a campaign's metrics: finite numbers, intervals, names."""

import re
from collections.abc import Collection, Mapping, Sequence

from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import Estimate
from reporting.summary import CampaignSummary

STEPS = ("start", "sample", "judge", "train", "evaluate")
_KINDS = {
    **dict.fromkeys(("prompts", "completions"), "sample"),
    **dict.fromkeys(
        ("scores", "pairs", "judgements", "labels", "calibration", "preferences", "audit"), "judge"
    ),
    **dict.fromkeys(("data", "reference", "training"), "train"),
    **dict.fromkeys(("certificate", "gate"), "evaluate"),
}
_EVALUATING = ("answer", "suite_", "evaluation")


def lowest_kappa(row: RoundMetrics) -> float | None:
    """The lowest κ of a judge with people in the round; None if none was measured."""
    kappas = row.agreement.kappa.values() if row.agreement is not None else ()
    known = (finite(kappa.value) for kappa in kappas)
    return min((value for value in known if value is not None), default=None)


def measure_names(summary: CampaignSummary) -> tuple[str, ...]:
    """Names of what judges measured, without their prefix, in order of appearance."""
    names: dict[str, None] = {}
    for row in summary.rounds:
        given = row.model_extra or {}
        names.update(
            (name.removeprefix("measure_"), None) for name in given if _is_measure(name, given)
        )
    return tuple(names)


def _is_measure(name: str, given: Collection[str]) -> bool:
    """`measure_x_base` belongs to `measure_x`, unless there is no such measure."""
    stem = re.sub(r"_(previous|base)$", "", name)
    return name.startswith("measure_") and (stem == name or stem not in given)


def base_number(summary: CampaignSummary, name: str) -> float | None:
    """A metric of the base policy: the campaign's own, or else the first that a round recorded."""
    value = finite(summary.base.get(name))
    for row in summary.rounds:
        value = row.number(f"{name}_base") if value is None else value
    return value


def ratings(summary: CampaignSummary) -> Mapping[int, Estimate]:
    """Round → rating of its policy by the matches of all rounds so far, the base as 0.

    A round's own column `rating` is by the matches until then, and shown only where no round has
    the ratings of all.
    """
    rated = [row.ratings for row in summary.rounds if row.ratings]
    if rated:
        return {int(number): rating for number, rating in rated[-1].items()}
    own = {row.round: row.interval("rating") for row in summary.rounds}
    return {
        number: Estimate(estimate=rating, low=low, high=high)
        for number, (rating, low, high) in own.items()
        if rating is not None
    }


def list_rounds(numbers: Sequence[int]) -> str:
    """`round 1`; `rounds 1, 2 and 5`."""
    *first, last = (str(number) for number in numbers)
    return f"rounds {', '.join(first)} and {last}" if first else f"round {last}"


def step_kind(step: str) -> str:
    """Which of STEPS a step of a round belongs to, or `other`."""
    return "evaluate" if step.startswith(_EVALUATING) else _KINDS.get(step, "other")


def seconds_by_step(row: RoundMetrics) -> dict[str, float | None]:
    """Seconds per step; `other` is the time of the round outside its steps."""
    steps = {step: row.number(f"seconds_{step}") for step in STEPS}
    whole = row.number("seconds_round")
    known = sum(value for value in steps.values() if value is not None)
    return {**steps, "other": None if whole is None else max(0.0, whole - known)}
