"""What rounds cost, and what that bought."""

from collections.abc import Callable, Mapping
from typing import Any

from reporting.cells import (
    Column,
    TableSection,
    cell_with_interval,
    format_estimate,
    percent,
    table_by_round,
)
from reporting.label_gains import (
    PER,
    LabelGains,
    LabelValue,
    count_human_labels,
    count_labels,
    label_gains,
)
from reporting.numbers import MISSING, Row, lowest_kappa, number
from reporting.summary import CampaignSummary


def cost_table(summary: CampaignSummary) -> TableSection:
    """At what price?"""
    per_labels = {one.round: one for one in label_gains(summary)}
    columns: list[Column] = [
        ("minutes", _scaled("seconds_round", 60, "{:.1f}")),
        ("GPU-hours", _scaled("gpu_seconds", 3600, "{:.2f}")),
        ("CPU-hours", _scaled("cpu_seconds", 3600, "{:.3f}")),
        ("tokens in", _scaled("tokens_in", 1, "{:,.0f}")),
        ("tokens out", _scaled("tokens_out", 1, "{:,.0f}")),
        ("labels", lambda row: f"{count_labels(row):,}" if count_labels(row) else None),
        ("of people", _of_people),
        ("money", _scaled("money", 1, "{:,.2f}")),
        (f"wins per {PER} labels", _bought(per_labels)),
    ]
    note = (
        "minutes: wall time of the steps · labels: verdicts of judges and people · wins per "
        f"{PER} labels: points of win rate over the previous policy, all credited to labels"
    )
    return table_by_round("At what price?", note, summary, columns, MISSING)


def _scaled(name: str, by: float, form: str) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        value = number(row, name)
        return None if value is None else form.format(value / by)

    return write


def _of_people(row: Row) -> str | None:
    count = count_human_labels(row)
    return None if count is None else f"{count:,}"


def _bought(found: Mapping[int, LabelGains]) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        one = found.get(int(row["round"]))
        return None if one is None or one.win_rate is None else points(one.win_rate)

    return write


def points(value: LabelValue) -> str:
    """Percentage points with their interval, signed."""
    return format_estimate(value.estimate, value.low, value.high, lambda v: f"{100 * v:+.1f}")


def trust_table(summary: CampaignSummary) -> TableSection:
    """Can I trust it?"""
    columns: list[Column] = [
        ("wins at equal length %", _controlled),
        ("decided %", _decided),
        ("κ with people", _kappa),
        ("forgotten", _of("forgotten", lambda f: f"{f.get('count', 0)} of {f.get('compared', 0)}")),
        ("slices worse", _of("slices", lambda s: _count(s, "flagged"))),
        ("suites failed", _of("suites", lambda s: _count(s, "failed"))),
        ("cycles", lambda row: str(len(row["cycles"])) if row.get("cycles") is not None else None),
        ("overlap", _of("overlap", lambda o: f"{o.get('prompts', 0)} of {o.get('of', 0)}")),
        ("warnings", lambda row: str(len(row.get("warnings") or {}))),
    ]
    note = (
        "wins against the base · decided: of the gate's comparisons · κ: lowest of the judges · "
        "forgotten: prompts answered worse than by an earlier round · overlap: held-out prompts "
        "that share long passages with training"
    )
    return table_by_round("Can I trust it?", note, summary, columns, MISSING)


def _interval(name: str) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        return None if number(row, name) is None else cell_with_interval(row, name, percent)

    return write


def _controlled(row: Row) -> str | None:
    said = _interval("lc_win_rate_base")(row)
    return f"{said} extrapolated" if said and row.get("lc_win_rate_base_extrapolated") else said


def _decided(row: Row) -> str | None:
    """Of the gate's comparisons, where some were not."""
    found = (row.get("decided") or {}).get("gate") or {}
    of, decided = found.get("comparisons") or 0, found.get("decided") or 0
    return percent(decided / of) if decided < of else None


def _of(name: str, write: Callable[[Mapping[str, Any]], str]) -> Callable[[Row], str | None]:
    def written(row: Row) -> str | None:
        found = row.get(name)
        return write(found) if isinstance(found, Mapping) and found else None

    return written


def _count(found: Mapping[str, Any], name: str) -> str:
    return f"{sum(bool(one.get(name)) for one in found.values())} of {len(found)}"


def _kappa(row: Row) -> str | None:
    lowest = lowest_kappa(row)
    return None if lowest is None else f"{lowest:.2f}"
