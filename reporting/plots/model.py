"""Plots as data, and their alternative text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.number_formats import MISSING, write_number
from reporting.summary import CampaignSummary

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
    """Points with one name in the legend.

    colour: place in the palette, where plots of one topic give a thing the same colour; otherwise
    its place in the plot.
    """

    name: str
    points: tuple[Point, ...]
    colour: int | None = None


@dataclass(frozen=True)
class Plot:
    """What plots.js draws. form, x_form: how values are written, by Python and by d3 alike.

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
    x_form: str = ".4g"

    def points(self) -> Iterator[tuple[str, Point]]:
        return ((series.name, point) for series in self.series for point in series.points)


@dataclass(frozen=True)
class PlotGroup:
    """Plots under one heading. short: its name in the page's navigation."""

    key: str
    short: str
    title: str
    note: str
    plots: tuple[Plot, ...]


def alt_text(plot: Plot) -> str:
    """Alternative text for screen readers; only the ends of long series."""
    points = list(plot.points())
    if len(points) > SPOKEN_POINTS:
        points = [end for series in plot.series for end in _ends(series)]
    values = (
        f"{name}, {point.label or format_place(point.x, plot.x_form)}: "
        f"{format_point(point.y, plot.form)}"
        for name, point in points
    )
    return f"{plot.title}, {plot.unit}. {'; '.join(values)}."


def _ends(series: Series) -> list[tuple[str, Point]]:
    points = series.points if len(series.points) < 2 else (series.points[0], series.points[-1])
    return [(series.name, point) for point in points]


def format_point(value: float | None, form: str) -> str:
    """A value as in the tables below plots and in alternative texts."""
    return MISSING if value is None else write_number(value, form)


def format_point_interval(point: Point, form: str) -> str:
    """A value with its interval, if it has one."""
    text = format_point(point.y, form)
    if point.low is None or point.high is None:
        return text
    ends = ", ".join(format_point(end, form).rstrip("%") for end in (point.low, point.high))
    return f"{text} [{ends}]"


def format_place(x: str | float, form: str) -> str:
    return x if isinstance(x, str) else write_number(x, form)


def series_by_round(summary: CampaignSummary, names: Mapping[str, str]) -> tuple[Series, ...]:
    """One series per column that is not empty. names: column → name of its series."""
    series = []
    for column, title in names.items():
        points = [point(row, column) for row in summary.rounds]
        known = tuple(point for point in points if point is not None)
        if known:
            series.append(Series(title, known, _colour(column)))
    return tuple(series)


_OPPONENTS = ("base", "previous", "gate", "reference")


def _colour(column: str) -> int | None:
    """A comparison has the colour of its opponent, in each plot of comparisons."""
    if "win_rate" not in column and not column.startswith("kl_"):
        return None
    return next((n for n, name in enumerate(_OPPONENTS) if f"_{name}" in column), None)


def point(row: RoundMetrics, name: str) -> Point | None:
    value, low, high = row.interval(name)
    return None if value is None else Point(round_label(row), value, low, high)


def round_label(row: RoundMetrics) -> str:
    return str(row.round)


def stacked_series(
    summary: CampaignSummary, parts: Sequence[str], of: Callable[[RoundMetrics, str], float | None]
) -> tuple[Series, ...]:
    """One series per part that is not empty, for stacked bars; each part has its own colour."""
    series = []
    for colour, part in enumerate(parts):
        values = [(round_label(row), of(row, part)) for row in summary.rounds]
        points = tuple(Point(x, value) for x, value in values if value is not None)
        if any(point.y for point in points):
            series.append(Series(part, points, colour))
    return tuple(series)
