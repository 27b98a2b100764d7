"""The plots of a comparison: one series per campaign."""

from collections.abc import Iterator
from dataclasses import replace

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.compare.sides import CampaignComparison, Side
from reporting.number_formats import SHARE, TWO_DIGITS, number_format
from reporting.numbers import base_number
from reporting.plots.model import (
    Plot,
    PlotGroup,
    Point,
    Series,
    point,
    round_label,
)
from reporting.plots.quality import rating_series


def plot_groups(comparison: CampaignComparison) -> tuple[PlotGroup, ...]:
    """The plots that are not empty, in one group."""
    drawn = tuple(plot for plot in _plots(comparison) if plot.series)
    note = "Each campaign's rounds on its own held-out test prompts."
    return (PlotGroup("curves", "Curves", "Round by round", note, drawn),) if drawn else ()


def _plots(comparison: CampaignComparison) -> Iterator[Plot]:
    def of(name: str) -> tuple[Series, ...]:
        return _series(comparison, name)

    yield Plot(
        "Win rate",
        "Share of test prompts won against the base; ties count half. Above 50% is better.",
        "wins",
        SHARE,
        of("win_rate_base"),
        0.5,
        "equal",
    )
    yield Plot(
        "Length-controlled win rate",
        "Win rate at equal lengths. If it is far below the plain one, answers win by being long.",
        "wins",
        SHARE,
        of("lc_win_rate_base"),
        0.5,
        "equal",
    )
    yield _frontier(comparison)
    yield Plot(
        "Distance travelled",
        "KL divergence from the base, nats per completion.",
        "KL, nats",
        TWO_DIGITS,
        of("kl_base_nats"),
        from_zero=True,
    )
    yield Plot(
        "Rating",
        "Bradley-Terry strength within each campaign, in logits; the base is 0.",
        "logits",
        number_format("rating"),
        _ratings(comparison),
        0.0,
        "base",
    )
    yield Plot(
        "Length",
        "Mean length of the answers, EOS included.",
        "tokens",
        number_format("length_mean"),
        of("length_mean"),
        *_level(comparison, "length_mean"),
    )


def _series(comparison: CampaignComparison, name: str) -> tuple[Series, ...]:
    series = []
    for colour, side in enumerate(comparison.sides):
        points = tuple(p for row in side.summary.rounds if (p := point(row, name)) is not None)
        if points:
            series.append(Series(side.label, points, colour))
    return tuple(series)


def _ratings(comparison: CampaignComparison) -> tuple[Series, ...]:
    return tuple(
        replace(series, name=side.label, colour=colour)
        for colour, side in enumerate(comparison.sides)
        for series in rating_series(side.summary)
    )


def _level(comparison: CampaignComparison, name: str) -> tuple[float | None, str]:
    """The base's number, if all campaigns have the same base."""
    levels = {base_number(side.summary, name) for side in comparison.sides}
    alike = len({side.base for side in comparison.sides}) == 1 and len(levels) == 1
    level = levels.pop() if alike else None
    return level, "base" if level is not None else ""


def _frontier(comparison: CampaignComparison) -> Plot:
    """Win rate against KL."""
    series = []
    for colour, side in enumerate(comparison.sides):
        points = tuple(_reached(side))
        if points:
            series.append(Series(side.label, (Point(0.0, 0.5, label="base"), *points), colour))
    return Plot(
        "Wins against KL",
        "Win rate against the base over KL to it, one point per round in order. If KL grows and "
        "the win rate does not, the round only drifted.",
        "wins",
        SHARE,
        tuple(series),
        mark="path",
        x_title="KL to base, nats per completion",
        x_form=TWO_DIGITS,
    )


def _reached(side: Side) -> Iterator[Point]:
    for row in side.summary.rounds:
        won, kl = point(row, "win_rate_base"), point(row, "kl_base_nats")
        if won is not None and kl is not None:
            yield Point(kl.y, won.y, won.low, won.high, kl.low, kl.high, _label(row))


def _label(row: RoundMetrics) -> str:
    return f"round {round_label(row)}"
