"""Tables of numbers that are already written, and how their cells are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reporting.numbers import MISSING, Row, base_number, number, number_and_ends
from reporting.summary import CampaignSummary


@dataclass(frozen=True)
class TableSection:
    """One table: the first cell of each row names it, the others are numbers already written."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Formatter = Callable[[float], str]

ColumnSpecs = Sequence[tuple[str, str, Formatter]]
"""(name, heading, how it is written) of each column."""


def headings(shown: ColumnSpecs) -> tuple[str, ...]:
    return tuple(heading for _, heading, _ in shown)


def count(value: float) -> str:
    return f"{value:.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def cell(row: Row, name: str, write: Formatter) -> str:
    value = number(row, name)
    return MISSING if value is None else write(value)


def cell_with_interval(row: Row, name: str, write: Formatter) -> str:
    """A number of a round's row, whose interval stands beside it under the same name."""
    return format_estimate(*number_and_ends(row, name), write)


def format_estimate(
    value: float | None, low: float | None, high: float | None, write: Formatter
) -> str:
    """A number and its interval, if it has one."""
    if value is None:
        return MISSING
    said = write(value)
    return said if low is None or high is None else f"{said} [{write(low)}, {write(high)}]"


def cell_with_error(row: Row, name: str) -> str:
    error = number(row, f"{name}_se")
    value = cell(row, name, "{:.2f}".format)
    return value if error is None else f"{value} ±{error:.2f}"


Column = tuple[str, Callable[[Row], str | None]]
"""(heading, what stands in a round's cell; None where there is nothing to say)."""


def table_by_round(
    title: str, note: str, summary: CampaignSummary, columns: Sequence[Column], missing: str
) -> TableSection:
    """Columns that hold nothing in any round are left out, and with them the whole table."""
    cells = [(heading, [write(row) for row in summary.rounds]) for heading, write in columns]
    some = [(heading, found) for heading, found in cells if any(one is not None for one in found)]
    if not some:
        return TableSection(title, note, (), ())
    names = [str(int(row["round"])) for row in summary.rounds]
    rows = zip(names, *(found for _, found in some), strict=True)
    written = tuple(tuple(missing if one is None else one for one in row) for row in rows)
    return TableSection(title, note, ("round", *(heading for heading, _ in some)), written)


def table_beside_base(
    title: str, note: str, summary: CampaignSummary, shown: ColumnSpecs
) -> TableSection:
    """The base, then each round with its intervals; what no round has is left out."""
    some = [one for one in shown if any(number(r, one[0]) is not None for r in summary.rounds)]
    if not some:
        return TableSection(title, note, (), ())
    base = {name: base_number(summary, name) for name, _, _ in some}
    rows = [("base", *(cell(base, name, write) for name, _, write in some))]
    rows += [
        (str(int(row["round"])), *(cell_with_interval(row, name, write) for name, _, write in some))
        for row in summary.rounds
    ]
    return TableSection(title, note, ("round", *headings(some)), tuple(rows))
