"""A campaign's numbers and texts, fit to be shown: finite numbers, harmless characters."""

import math
import re
from collections.abc import Mapping
from typing import Any

from reporting.summary import CampaignSummary

Row = Mapping[str, Any]

MISSING = "–"
STEPS = ("start", "sample", "judge", "train", "evaluate")


def number(row: Row, name: str) -> float | None:
    """The finite number under `name`, or None if there is none."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return None
    return float(value) if math.isfinite(value) else None


def number_and_ends(row: Row, name: str) -> tuple[float | None, float | None, float | None]:
    """The number under `name` and the ends of its interval."""
    return number(row, name), number(row, f"{name}_low"), number(row, f"{name}_high")


def lowest_kappa(row: Row) -> float | None:
    """Of the judges that people were compared with in the round."""
    kappas = ((row.get("agreement") or {}).get("kappa") or {}).values()
    known = [value for one in kappas if (value := number(one, "value")) is not None]
    return min(known, default=None)


def measure_names(summary: CampaignSummary) -> tuple[str, ...]:
    """Names of what the judge measured, without their prefix, in order of appearance."""
    found: dict[str, None] = {}
    for row in summary.rounds:
        found.update(
            (name.removeprefix("measure_"), None) for name in row if _is_measure(name, row)
        )
    return tuple(found)


def _is_measure(name: str, row: Row) -> bool:
    """`measure_x_base` belongs to `measure_x`, unless there is no such measure."""
    stem = re.sub(r"_(previous|base)$", "", name)
    return name.startswith("measure_") and (stem == name or stem not in row)


def base_number(summary: CampaignSummary, name: str) -> float | None:
    """A statistic of the base policy, wherever the campaign wrote it down."""
    value = number(summary.base, name)
    for row in summary.rounds:
        value = number(row, f"{name}_base") if value is None else value
    return value


def dropped_counts(row: Row) -> Mapping[str, int]:
    counts: Mapping[str, int] = row.get("dropped") or {}
    return counts


def seconds_by_step(row: Row) -> dict[str, float | None]:
    """Seconds per step; `other` is what the round took beyond its steps."""
    steps = {step: number(row, f"seconds_{step}") for step in STEPS}
    whole = number(row, "seconds_round")
    known = sum(value for value in steps.values() if value is not None)
    return {**steps, "other": None if whole is None else max(0.0, whole - known)}
