"""Tables of numbers that are already written, and how their cells are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reporting.numbers import MISSING, Row, number, with_ends


@dataclass(frozen=True)
class TableSection:
    """One table: the first cell of each row names it, the others are numbers already written."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Write = Callable[[float], str]

Shown = Sequence[tuple[str, str, Write]]
"""(name, heading, how it is written) of each column."""


def headings(shown: Shown) -> tuple[str, ...]:
    return tuple(heading for _, heading, _ in shown)


def count(value: float) -> str:
    return f"{value:.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def cell(row: Row, name: str, write: Write) -> str:
    value = number(row, name)
    return MISSING if value is None else write(value)


def with_interval(row: Row, name: str, write: Write) -> str:
    """A number of a round's row, whose interval stands beside it under the same name."""
    return estimated(*with_ends(row, name), write)


def estimated(value: float | None, low: float | None, high: float | None, write: Write) -> str:
    """A number and its interval, if it has one."""
    if value is None:
        return MISSING
    said = write(value)
    return said if low is None or high is None else f"{said} [{write(low)}, {write(high)}]"


def with_error(row: Row, name: str) -> str:
    error = number(row, f"{name}_se")
    value = cell(row, name, "{:.2f}".format)
    return value if error is None else f"{value} ±{error:.2f}"
