"""Plots as data, and their alternative text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.numbers import MISSING
from reporting.summary import CampaignSummary

PERCENT, DECIMAL, SECONDS, COUNT = ".0%", ".3~g", ".1f", ",.0f"
SPOKEN_POINTS = 60
"""Most values in an alternative text; the table below the plot has all of them."""


@dataclass(frozen=True)
class Point:
    """One value of a plot. x: "base", the number of a round, the name of a step, or a number if the
    axis is a measure itself. label: shown beside the point."""

    x: str | float
    y: float
    low: float | None = None
    high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points with one name in the legend."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """What plots.js draws.

    mark: line (over rounds), bar (stacked), path (over the measure `x_title`, points joined in
    order) or curve (a path without marks). level: a horizontal reference line.
    """

    title: str
    about: str
    unit: str
    form: str
    series: tuple[Series, ...]
    level: float | None = None
    level_name: str = ""
    mark: str = "line"
    from_zero: bool = False
    x_title: str = "round"

    def points(self) -> Iterator[tuple[str, Point]]:
        return ((series.name, point) for series in self.series for point in series.points)

    @property
    def bounded(self) -> bool:
        """Whether any value has an interval."""
        return any(point.low is not None for _, point in self.points())


@dataclass(frozen=True)
class PlotGroup:
    """Plots under one heading."""

    key: str
    title: str
    note: str
    plots: tuple[Plot, ...]


def alt_text(plot: Plot) -> str:
    """Alternative text for screen readers; only the ends of long series."""
    points = list(plot.points())
    if len(points) > SPOKEN_POINTS:
        points = [end for series in plot.series for end in _ends(series)]
    values = (
        f"{name}, {point.label or format_place(point.x)}: {format_number(point.y, plot.form)}"
        for name, point in points
    )
    return f"{plot.title}, {plot.unit}. {'; '.join(values)}."


def _ends(series: Series) -> list[tuple[str, Point]]:
    points = series.points if len(series.points) < 2 else (series.points[0], series.points[-1])
    return [(series.name, point) for point in points]


def format_number(value: float | None, form: str) -> str:
    """A value as in the tables below plots and in alternative texts."""
    if value is None:
        return MISSING
    if form == COUNT:
        return f"{value:,.0f}"
    return f"{100 * value:.1f}%" if form.endswith("%") else f"{value:.4g}"


def format_place(x: str | float) -> str:
    return x if isinstance(x, str) else f"{x:.4g}"


def series_by_round(summary: CampaignSummary, names: Mapping[str, str]) -> tuple[Series, ...]:
    """One series per column that is not empty. names: column → name of its series."""
    series = []
    for column, title in names.items():
        points = [point(row, column) for row in summary.rounds]
        known = tuple(point for point in points if point is not None)
        if known:
            series.append(Series(title, known))
    return tuple(series)


def point(row: RoundMetrics, name: str) -> Point | None:
    value, low, high = row.interval(name)
    return None if value is None else Point(round_label(row), value, low, high)


def round_label(row: RoundMetrics) -> str:
    return str(row.round)


def stacked_series(
    summary: CampaignSummary, parts: Sequence[str], of: Callable[[RoundMetrics, str], float | None]
) -> tuple[Series, ...]:
    """One series per part that is not empty, for stacked bars."""
    series = []
    for part in parts:
        values = [(round_label(row), of(row, part)) for row in summary.rounds]
        points = tuple(Point(x, value) for x, value in values if value is not None)
        if any(point.y for point in points):
            series.append(Series(part, points))
    return tuple(series)
