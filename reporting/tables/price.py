"""What rounds cost, and what that bought."""

from collections.abc import Callable, Mapping

from reporting.cells import TableSection, estimated
from reporting.labels_bought import (
    PER,
    LabelGains,
    LabelValue,
    bought,
    labels_of,
    labels_of_people,
)
from reporting.numbers import MISSING, Row, number
from reporting.summary import CampaignSummary
from reporting.tables.by_round import Column, by_round


def price(summary: CampaignSummary) -> TableSection:
    """At what price?"""
    per_labels = {one.round: one for one in bought(summary)}
    columns: list[Column] = [
        ("minutes", _scaled("seconds_round", 60, "{:.1f}")),
        ("GPU-hours", _scaled("gpu_seconds", 3600, "{:.2f}")),
        ("CPU-hours", _scaled("cpu_seconds", 3600, "{:.3f}")),
        ("tokens in", _scaled("tokens_in", 1, "{:,.0f}")),
        ("tokens out", _scaled("tokens_out", 1, "{:,.0f}")),
        ("labels", lambda row: f"{labels_of(row):,}" if labels_of(row) else None),
        ("of people", _of_people),
        ("money", _scaled("money", 1, "{:,.2f}")),
        (f"wins per {PER} labels", _bought(per_labels)),
    ]
    note = (
        "minutes: wall time of the steps · labels: verdicts of judges and people · wins per "
        f"{PER} labels: points of win rate over the previous policy, all credited to labels"
    )
    return by_round("At what price?", note, summary, columns, MISSING)


def _scaled(name: str, by: float, form: str) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        value = number(row, name)
        return None if value is None else form.format(value / by)

    return write


def _of_people(row: Row) -> str | None:
    count = labels_of_people(row)
    return None if count is None else f"{count:,}"


def _bought(found: Mapping[int, LabelGains]) -> Callable[[Row], str | None]:
    def write(row: Row) -> str | None:
        one = found.get(int(row["round"]))
        return None if one is None or one.win_rate is None else points(one.win_rate)

    return write


def points(value: LabelValue) -> str:
    """Percentage points with their interval, signed."""
    return estimated(value.estimate, value.low, value.high, lambda v: f"{100 * v:+.1f}")
