"""The plots of the report as data, and what each says to those who cannot see it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flows.show.numbers import MISSING, STEPS, Row, base_number, measures, number, seconds, visible
from flows.show.summary import CampaignSummary

PERCENT, DECIMAL, SECONDS = ".0%", ".3~g", ".1f"


@dataclass(frozen=True)
class Point:
    """One value of a plot; `x` is "base" or the number of a round."""

    x: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """What report.js draws. `level` is a horizontal line to compare with, `mark` line or bar."""

    title: str
    about: str
    unit: str
    form: str
    series: tuple[Series, ...]
    level: float | None = None
    level_name: str = ""
    mark: str = "line"
    from_zero: bool = False

    def points(self) -> Iterator[tuple[str, Point]]:
        return ((series.name, point) for series in self.series for point in series.points)


def plots(summary: CampaignSummary) -> tuple[Plot, ...]:
    """All plots that have something to show."""
    made = [*_better(summary), *_answers(summary), *_training(summary), _time(summary)]
    return tuple(plot for plot in made if plot.series)


def spoken(plot: Plot) -> str:
    """The plot for those who cannot see it."""
    said = (f"{name}, {point.x}: {written(point.y, plot.form)}" for name, point in plot.points())
    return f"{plot.title}, {plot.unit}. {'; '.join(said)}."


def _better(summary: CampaignSummary) -> Iterator[Plot]:
    yield Plot(
        "Win rate",
        "On held-out test prompts; ties count half. Above 50 % is better.",
        "wins",
        PERCENT,
        _series(
            summary, {"win_rate_base": "against base", "win_rate_previous": "against previous"}
        ),
        0.5,
        "equal",
    )
    yield Plot(
        "Distance travelled",
        "KL divergence, nats per completion. The one from the base adds up over rounds.",
        "KL, nats",
        DECIMAL,
        _series(summary, {"kl_base_nats": "from base", "kl_previous_nats": "from previous"}),
        from_zero=True,
    )


def _answers(summary: CampaignSummary) -> Iterator[Plot]:
    for name in measures(summary):
        about = "Measured by the judge on the test prompts."
        yield _against_base(summary, f"measure_{name}", _title(name), about, "share", PERCENT)
    for name, title, about, unit, form in (
        ("score_mean", "Score", "Mean score of the judge on the test prompts.", "score", DECIMAL),
        (
            "length_mean",
            "Length",
            "Mean length of the answers, EOS included.",
            "tokens",
            DECIMAL,
        ),
        ("truncated_share", "Truncated", "Answers cut at the length limit.", "share", ".1%"),
    ):
        yield _against_base(summary, name, title, about, unit, form)


def _title(name: str) -> str:
    words = visible(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _against_base(
    summary: CampaignSummary, name: str, title: str, about: str, unit: str, form: str
) -> Plot:
    level = base_number(summary, name)
    found = _series(summary, {name: "policy"})
    if found and level is not None:
        found = (Series("policy", (Point("base", level), *found[0].points)),)
    return Plot(title, about, unit, form, found, level, "base" if level is not None else "")


def _training(summary: CampaignSummary) -> Iterator[Plot]:
    for name, title, about, unit, form in (
        (
            "loss",
            "Loss",
            "Mean over the last epoch, as pairs were trained on.",
            "loss",
            ".3f",
        ),
        ("accuracy", "Reward accuracy", "Share of pairs with a positive margin.", "share", PERCENT),
        ("margin", "Margin", "Chosen minus rejected log-ratio, without β.", "nats", DECIMAL),
    ):
        yield Plot(title, about, unit, form, _series(summary, {name: "policy"}))
    yield Plot(
        "Log-ratios",
        "Mean log(policy/reference) of the trained completions. Chosen below 0: they became less "
        "likely.",
        "nats",
        DECIMAL,
        _series(summary, {"chosen_logratio": "chosen", "rejected_logratio": "rejected"}),
        from_zero=True,
    )
    yield Plot(
        "Entropy",
        "Of the policy at tokens of the trained completions.",
        "nats per token",
        DECIMAL,
        _series(summary, {"entropy": "policy"}),
    )


def _time(summary: CampaignSummary) -> Plot:
    points: dict[str, list[Point]] = {step: [] for step in (*STEPS, "other")}
    for row in summary.rounds:
        for step, value in seconds(row).items():
            if value is not None:
                points[step].append(Point(_round(row), value))
    series = tuple(Series(step, tuple(found)) for step, found in points.items() if found)
    return Plot("Time", "Seconds per round, by step.", "seconds", SECONDS, series, mark="bar")


def _series(summary: CampaignSummary, names: Mapping[str, str]) -> tuple[Series, ...]:
    found = []
    for column, shown in names.items():
        points = [_point(row, column) for row in summary.rounds]
        known = tuple(point for point in points if point is not None)
        if known:
            found.append(Series(shown, known))
    return tuple(found)


def _point(row: Row, name: str) -> Point | None:
    value = number(row, name)
    low, high = number(row, f"{name}_low"), number(row, f"{name}_high")
    return None if value is None else Point(_round(row), value, low, high)


def _round(row: Row) -> str:
    return str(int(row["round"]))


def written(value: float | None, form: str) -> str:
    """A value as the plots' tables and their spoken form write it."""
    if value is None:
        return MISSING
    return f"{100 * value:.1f} %" if form.endswith("%") else f"{value:.4g}"
