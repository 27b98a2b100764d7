"""Access to a campaign's metrics: finite numbers, intervals, names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reporting.summary import CampaignSummary

Row = Mapping[str, Any]

MISSING = "–"
CONFIDENCE = 0.95
"""Level of confidence intervals if the config does not say it."""
STEPS = ("start", "sample", "judge", "train", "evaluate")


def number(row: Row, name: str) -> float | None:
    """The finite number under `name`, or None."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return None
    return float(value) if math.isfinite(value) else None


def number_and_ends(row: Row, name: str) -> tuple[float | None, float | None, float | None]:
    """(number, low, high): the number under `name` and the ends of its interval."""
    return number(row, name), number(row, f"{name}_low"), number(row, f"{name}_high")


def lowest_kappa(row: Row) -> float | None:
    """The lowest κ of a judge with people in the round; None if none was measured."""
    kappas = ((row.get("agreement") or {}).get("kappa") or {}).values()
    known = [value for kappa in kappas if (value := number(kappa, "value")) is not None]
    return min(known, default=None)


def measure_names(summary: CampaignSummary) -> tuple[str, ...]:
    """Names of what judges measured, without their prefix, in order of appearance."""
    names: dict[str, None] = {}
    for row in summary.rounds:
        names.update(
            (name.removeprefix("measure_"), None) for name in row if _is_measure(name, row)
        )
    return tuple(names)


def _is_measure(name: str, row: Row) -> bool:
    """`measure_x_base` belongs to `measure_x`, unless there is no such measure."""
    stem = re.sub(r"_(previous|base)$", "", name)
    return name.startswith("measure_") and (stem == name or stem not in row)


def base_number(summary: CampaignSummary, name: str) -> float | None:
    """A metric of the base policy: the campaign's own, or else the first that a round recorded."""
    value = number(summary.base, name)
    for row in summary.rounds:
        value = number(row, f"{name}_base") if value is None else value
    return value


def confidence(summary: CampaignSummary) -> float:
    """Level of the confidence intervals: the `evaluation.confidence` in force."""
    evaluation = summary.settings.get("evaluation")
    level = number(evaluation, "confidence") if isinstance(evaluation, Mapping) else None
    return level if level is not None and 0 < level < 1 else CONFIDENCE


def list_rounds(numbers: Sequence[int]) -> str:
    """`round 1`; `rounds 1, 2 and 5`."""
    *first, last = (str(number) for number in numbers)
    return f"rounds {', '.join(first)} and {last}" if first else f"round {last}"


def dropped_counts(row: Row) -> Mapping[str, int]:
    counts: Mapping[str, int] = row.get("dropped") or {}
    return counts


def seconds_by_step(row: Row) -> dict[str, float | None]:
    """Seconds per step; `other` is the time of the round outside its steps."""
    steps = {step: number(row, f"seconds_{step}") for step in STEPS}
    whole = number(row, "seconds_round")
    known = sum(value for value in steps.values() if value is not None)
    return {**steps, "other": None if whole is None else max(0.0, whole - known)}
