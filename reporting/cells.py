"""Tables of formatted numbers, and how to format their cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.number_formats import format_metric, format_number
from reporting.numbers import base_number
from reporting.summary import CampaignSummary


@dataclass(frozen=True)
class TableSection:
    """One table of formatted cells; the first cell of each row is its name."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Formatter = Callable[[float], str]

ColumnSpecs = Sequence[tuple[str, str, Formatter | None]]
"""(metric, heading, formatter) of each column; without a formatter, as the metric is written
everywhere."""


def headings(specs: ColumnSpecs) -> tuple[str, ...]:
    return tuple(heading for _, heading, _ in specs)


def count(value: float) -> str:
    return f"{value:,.0f}"


def cell(name: str, value: float | None, write: Formatter | None = None) -> str:
    """A value of the metric `name`."""
    return format_number(name, value) if write is None or value is None else write(value)


Column = tuple[str, Callable[[RoundMetrics], str | None]]
"""(heading, formatter of a round's cell, which returns None for an empty cell)."""


def table_by_round(
    title: str, note: str, summary: CampaignSummary, columns: Sequence[Column], missing: str
) -> TableSection:
    """One row per round, without empty columns; no rows if all columns are empty."""
    cells = [(heading, [write(row) for row in summary.rounds]) for heading, write in columns]
    some = [(name, column) for name, column in cells if any(text is not None for text in column)]
    if not some:
        return TableSection(title, note, (), ())
    rounds = [str(row.round) for row in summary.rounds]
    rows = zip(rounds, *(column for _, column in some), strict=True)
    filled = tuple(tuple(missing if text is None else text for text in row) for row in rows)
    return TableSection(title, note, ("round", *(heading for heading, _ in some)), filled)


def table_beside_base(
    title: str, note: str, summary: CampaignSummary, specs: ColumnSpecs
) -> TableSection:
    """A row for the base, then one per round with intervals, without empty columns."""
    some = [spec for spec in specs if any(r.number(spec[0]) is not None for r in summary.rounds)]
    if not some:
        return TableSection(title, note, (), ())
    rows = [("base", *(format_number(name, base_number(summary, name)) for name, _, _ in some))]
    rows += [
        (str(row.round), *(format_metric(row, name) for name, _, _ in some))
        for row in summary.rounds
    ]
    return TableSection(title, note, ("round", *headings(some)), tuple(rows))
