"""Plots of the data: agreement of judges and people, gains per label, data flow."""

from collections.abc import Iterator

from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import Agreed
from dpo_core.text import visible
from reporting.label_gains import PER, label_gains
from reporting.number_formats import COUNT, TWO_DIGITS, number_format
from reporting.plots.model import Plot, Point, Series, round_label
from reporting.summary import CampaignSummary


def label_plots(summary: CampaignSummary) -> Iterator[Plot]:
    yield Plot(
        "Judges and people",
        "Cohen's κ of each judge with people's verdicts on the same pairs, and Krippendorff's α "
        "among people. 1 is perfect, 0 is chance.",
        "κ, α",
        TWO_DIGITS,
        _agreement(summary),
        0.0,
        "chance",
    )
    yield Plot(
        f"Gain per {PER} labels: wins",
        f"(win rate against the previous policy − 50%) × {PER} / labels of the round. The whole "
        "change is credited to the labels, although samples, β and steps contributed: compare "
        "rounds by it, do not extrapolate.",
        f"points of win rate per {PER} labels",
        number_format("points"),
        _gains(summary, "win_rate"),
        0.0,
        "no gain",
    )
    yield Plot(
        f"Gain per {PER} labels: score",
        f"(mean score − that of the previous policy) × {PER} / labels of the round, on test "
        "prompts, also credited to the labels alone.",
        f"score per {PER} labels",
        number_format("score_change"),
        _gains(summary, "score"),
        0.0,
        "no gain",
    )


def _gains(summary: CampaignSummary, what: str) -> tuple[Series, ...]:
    points = []
    for gains in label_gains(summary):
        value, scale = (gains.win_rate, 100) if what == "win_rate" else (gains.score, 1)
        if value is not None:
            low, high = (None if end is None else scale * end for end in (value.low, value.high))
            points.append(Point(str(gains.round), scale * value.estimate, low, high))
    return (Series("labels of the round", tuple(points)),) if points else ()


def _agreement(summary: CampaignSummary) -> tuple[Series, ...]:
    points_by_name: dict[str, list[Point]] = {}
    for row in summary.rounds:
        for name, agreed in _agreements(row):
            value, low, high = map(finite, (agreed.value, agreed.low, agreed.high))
            if value is not None:
                points_by_name.setdefault(name, []).append(
                    Point(round_label(row), value, low, high)
                )
    return tuple(Series(visible(name), tuple(points)) for name, points in points_by_name.items())


def _agreements(row: RoundMetrics) -> Iterator[tuple[str, Agreed]]:
    if row.agreement is not None:
        yield from row.agreement.kappa.items()
        if row.agreement.alpha is not None:
            yield "α among people", row.agreement.alpha


def flow_plots(summary: CampaignSummary) -> Iterator[Plot]:
    """The data flow of the last round as bars; nothing before a round has finished."""
    flow = summary.details.flow
    counts = [stage for stage in flow if stage.round == flow[-1].round]
    if not counts:
        return
    kept = Series("kept", tuple(Point(stage.stage, stage.kept) for stage in counts))
    lossy = [stage for stage in counts if not stage.stay]
    reasons = dict.fromkeys(reason for stage in lossy for reason in stage.dropped)
    lost = [
        Series(
            visible(reason),
            tuple(Point(s.stage, s.dropped[reason]) for s in lossy if reason in s.dropped),
        )
        for reason in reasons
    ]
    yield Plot(
        f"From prompts to training, round {counts[0].round}",
        "Items that each stage kept, and why it dropped the others. Prompts that stayed in the "
        "pool are in the table only.",
        "count",
        COUNT,
        (kept, *lost),
        mark="bar",
        x_title="stage",
    )
