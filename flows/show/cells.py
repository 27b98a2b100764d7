"""Tables of numbers that are already written, and how their cells are."""

from collections.abc import Callable
from dataclasses import dataclass

from flows.show.numbers import MISSING, Row, number


@dataclass(frozen=True)
class Section:
    """One table: the first cell of each row names it, the others are numbers already written."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def count(value: float) -> str:
    return f"{value:.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def cell(row: Row, name: str, write: Callable[[float], str]) -> str:
    value = number(row, name)
    return MISSING if value is None else write(value)


def with_interval(row: Row, name: str, write: Callable[[float], str]) -> str:
    low, high = number(row, f"{name}_low"), number(row, f"{name}_high")
    value = cell(row, name, write)
    return value if low is None or high is None else f"{value} [{write(low)}, {write(high)}]"


def with_error(row: Row, name: str) -> str:
    error = number(row, f"{name}_se")
    value = cell(row, name, "{:.2f}".format)
    return value if error is None else f"{value} ±{error:.2f}"
