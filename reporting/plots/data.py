"""Plots of labels: whether judges and people agree, and what labels bought."""

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_core.text import visible
from reporting.label_gains import PER, label_gains
from reporting.numbers import Row, number
from reporting.plots.model import COUNT, DECIMAL, Plot, Point, Series, round_label
from reporting.summary import CampaignSummary


def label_plots(summary: CampaignSummary) -> Iterator[Plot]:
    yield Plot(
        "Judges and people",
        "Cohen's κ of each judge with people's verdicts on the same pairs, and Krippendorff's α "
        "among people. 1 is perfect, 0 is as by chance.",
        "κ, α",
        DECIMAL,
        _agreement(summary),
        0.0,
        "as by chance",
    )
    yield Plot(
        f"What {PER} labels bought: wins",
        f"(win rate against the previous policy − 50 %) × {PER} / labels of the round, which are "
        "all verdicts that it was trained by. It credits the whole change to the labels, though "
        "samples, β and steps had their part: compare rounds by it, do not extrapolate.",
        f"points of win rate per {PER} labels",
        ".1%",
        _bought(summary, "win_rate"),
        0.0,
        "nothing",
    )
    yield Plot(
        f"What {PER} labels bought: score",
        f"(mean score − that of the policy it started from) × {PER} / labels of the round, on test "
        "prompts, credited to the labels alone as above.",
        f"score per {PER} labels",
        DECIMAL,
        _bought(summary, "score"),
        0.0,
        "nothing",
    )


def _bought(summary: CampaignSummary, what: str) -> tuple[Series, ...]:
    points = []
    for one in label_gains(summary):
        value = one.win_rate if what == "win_rate" else one.score
        if value is not None:
            points.append(Point(str(one.round), value.estimate, value.low, value.high))
    return (Series("labels of the round", tuple(points)),) if points else ()


def _agreement(summary: CampaignSummary) -> tuple[Series, ...]:
    found: dict[str, list[Point]] = {}
    for row in summary.rounds:
        for name, numbers in _agreements(row):
            value = number(numbers, "value")
            if value is not None:
                low, high = number(numbers, "low"), number(numbers, "high")
                found.setdefault(name, []).append(Point(round_label(row), value, low, high))
    return tuple(Series(visible(name), tuple(points)) for name, points in found.items())


def _agreements(row: Row) -> Iterator[tuple[str, Mapping[str, Any]]]:
    agreement = row.get("agreement") or {}
    yield from agreement.get("kappa", {}).items()
    if agreement.get("alpha"):
        yield "α among people", agreement["alpha"]


def flow_plots(summary: CampaignSummary) -> Iterator[Plot]:
    """Nothing for a campaign without a finished round."""
    counts = [one for one in summary.details.flow if one.round == summary.details.flow[-1].round]
    if not counts:
        return
    kept = Series("went on", tuple(Point(one.stage, one.kept) for one in counts))
    lossy = [one for one in counts if not one.stay]
    reasons = dict.fromkeys(reason for one in lossy for reason in one.dropped)
    lost = [
        Series(
            visible(reason),
            tuple(Point(o.stage, o.dropped[reason]) for o in lossy if reason in o.dropped),
        )
        for reason in reasons
    ]
    yield Plot(
        f"From prompts to training, round {counts[0].round}",
        "How many of each went on, and why the others were lost. Prompts that stayed in the pool "
        "are in the table.",
        "count",
        COUNT,
        (kept, *lost),
        mark="bar",
        x_title="stage",
    )
