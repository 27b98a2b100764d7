"""Plots of training: curves within rounds, and one point per round."""

from collections.abc import Iterator
from statistics import NormalDist

from reporting.number_formats import THREE_DIGITS, TWO_DIGITS, number_format
from reporting.plots.model import Plot, Point, Series, series_by_round
from reporting.read.curves import Ends, Mean
from reporting.summary import CampaignSummary


def training_plots(summary: CampaignSummary) -> Iterator[Plot]:
    for name, title, about, unit in (
        (
            "accuracy",
            "Accuracy within rounds",
            "Share of a step's pairs with a positive margin, before its update, with Wilson's "
            "interval over these pairs. Each round starts from its own reference.",
            "share",
        ),
        (
            "margin",
            "Margin within rounds",
            "Chosen minus rejected log-ratio of a step's pairs, without β, with the interval of "
            "their mean. 0 at the first step if the reference is the policy that the round starts "
            "from.",
            "nats",
        ),
    ):
        series = _within(summary, name)
        form, title_x = number_format(name), "rounds of training"
        yield Plot(title, about, unit, form, series, mark="curve", x_title=title_x, from_zero=True)
    for name, title, about, unit in (
        ("loss", "Loss", "Mean over the last epoch, each pair at its own step.", "loss"),
        ("accuracy", "Reward accuracy", "Share of pairs with a positive margin.", "share"),
        ("margin", "Margin", "Chosen minus rejected log-ratio, without β.", "nats"),
    ):
        series = series_by_round(summary, {name: "policy"})
        yield Plot(title, about, unit, number_format(name), series)
    yield Plot(
        "Log-ratios",
        "Mean log(policy/reference) of the trained completions. Chosen below 0: chosen completions "
        "became less likely.",
        "nats",
        THREE_DIGITS,
        series_by_round(summary, {"chosen_logratio": "chosen", "rejected_logratio": "rejected"}),
        from_zero=True,
    )
    yield Plot(
        "Entropy",
        "Of the policy, at the tokens of the trained completions.",
        "nats per token",
        TWO_DIGITS,
        series_by_round(summary, {"entropy": "policy"}),
    )


def _within(summary: CampaignSummary, name: str) -> tuple[Series, ...]:
    """One series per round; x runs from n − 1 to n in round n, however many steps it has."""
    z = NormalDist().inv_cdf((1 + summary.settings.confidence) / 2)
    series = []
    for curve in summary.details.curves:
        points = tuple(
            _point(
                curve.round,
                at,
                mean,
                mean.share_ends(z) if name == "accuracy" else mean.mean_ends(z),
            )
            for at, mean in curve.column(name)
        )
        if points:
            series.append(Series(f"round {curve.round}", points))
    return tuple(series)


def _point(number: int, at: float, mean: Mean, ends: Ends) -> Point:
    low, high = ends or (None, None)
    return Point(number - 1 + at, mean.value, low, high, label=f"round {number}")
