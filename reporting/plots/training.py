"""Plots of training: within rounds, and what each round came to."""

from collections.abc import Iterator, Mapping
from statistics import NormalDist

from reporting.numbers import number
from reporting.plots.model import DECIMAL, PERCENT, Plot, Point, Series, series_by_round
from reporting.read.curves import Ends, Mean
from reporting.summary import CampaignSummary

CONFIDENCE = 0.95
"""Of intervals where a config does not say it."""


def training_plots(summary: CampaignSummary) -> Iterator[Plot]:
    """Curves within rounds first, then one point per round."""
    for name, title, about, unit, form in (
        (
            "accuracy",
            "Accuracy within rounds",
            "Share of a step's pairs with a positive margin, before its update, with Wilson's "
            "interval over those pairs. Each round starts again from a reference of its own.",
            "share",
            PERCENT,
        ),
        (
            "margin",
            "Margin within rounds",
            "Chosen minus rejected log-ratio of a step's pairs, without β, with the interval of "
            "their mean: 0 at the first step of a round whose reference is the policy it starts "
            "from.",
            "nats",
            DECIMAL,
        ),
    ):
        series = _within(summary, name)
        title_x = "rounds of training"
        yield Plot(title, about, unit, form, series, mark="curve", x_title=title_x, from_zero=True)
    for name, title, about, unit, form in (
        ("loss", "Loss", "Mean over the last epoch, as pairs were trained on.", "loss", ".3f"),
        ("accuracy", "Reward accuracy", "Share of pairs with a positive margin.", "share", PERCENT),
        ("margin", "Margin", "Chosen minus rejected log-ratio, without β.", "nats", DECIMAL),
    ):
        yield Plot(title, about, unit, form, series_by_round(summary, {name: "policy"}))
    yield Plot(
        "Log-ratios",
        "Mean log(policy/reference) of the trained completions. Chosen below 0: they became less "
        "likely.",
        "nats",
        DECIMAL,
        series_by_round(summary, {"chosen_logratio": "chosen", "rejected_logratio": "rejected"}),
        from_zero=True,
    )
    yield Plot(
        "Entropy",
        "Of the policy at tokens of the trained completions.",
        "nats per token",
        DECIMAL,
        series_by_round(summary, {"entropy": "policy"}),
    )


def _within(summary: CampaignSummary, name: str) -> tuple[Series, ...]:
    """One stretch per round: at the end of round n the place is n, whatever its steps."""
    z = NormalDist().inv_cdf((1 + confidence(summary)) / 2)
    found = []
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
            found.append(Series(f"round {curve.round}", points))
    return tuple(found)


def _point(number: int, at: float, mean: Mean, ends: Ends) -> Point:
    low, high = ends or (None, None)
    return Point(number - 1 + at, mean.value, low, high, label=f"round {number}")


def confidence(summary: CampaignSummary) -> float:
    """The `evaluation.confidence` in force."""
    evaluation = summary.settings.get("evaluation")
    said = number(evaluation, "confidence") if isinstance(evaluation, Mapping) else None
    return said if said is not None and 0 < said < 1 else CONFIDENCE
