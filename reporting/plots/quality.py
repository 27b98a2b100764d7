"""Plots of quality: win rates, ratings, reward against KL, distance from the base."""

from collections.abc import Iterator, Mapping

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.evaluation.comparison import kl_budget_nats
from reporting.number_formats import SHARE, TWO_DIGITS, number_format
from reporting.numbers import base_number, ratings
from reporting.plots.model import (
    Plot,
    Point,
    Series,
    point,
    round_label,
    series_by_round,
)
from reporting.summary import CampaignSummary


def quality_plots(summary: CampaignSummary) -> Iterator[Plot]:
    yield Plot(
        "Win rate vs. the previous policy",
        "Share of prompts won; ties count half. Above 50% is better. gate: on the gate prompts, "
        "which decide promotion. The win rate vs. the base is the chart at the top.",
        "wins",
        SHARE,
        series_by_round(summary, {"win_rate_previous": "test", "win_rate_gate": "gate"}),
        0.5,
        "equal",
    )
    yield Plot(
        "Length-controlled win rate",
        "Win rate at equal lengths, by a logistic model of the difference in length. If it is far "
        f"below the plain one, answers win by being long.{_extrapolated(summary)}",
        "wins",
        SHARE,
        series_by_round(
            summary,
            {
                "lc_win_rate_previous": "vs. previous",
                "lc_win_rate_gate": "vs. previous, gate",
                "lc_win_rate_base": "vs. base",
            },
        ),
        0.5,
        "equal",
    )
    yield _judges_apart(summary)
    yield Plot(
        "Rating",
        "Bradley-Terry strength of every policy from all matches so far, in logits; the base is 0. "
        "A lead of one logit is a win rate of 73%.",
        "logits",
        number_format("rating"),
        rating_series(summary),
        0.0,
        "base",
    )
    yield _frontier(summary)
    yield _distance(summary)


def _extrapolated(summary: CampaignSummary) -> str:
    numbers = [
        str(round_label(row))
        for row in summary.rounds
        if any(
            row.number(f"lc_win_rate_{other}_extrapolated")
            for other in ("base", "previous", "gate")
        )
    ]
    return (
        f" Extrapolated because lengths hardly overlap: round {', '.join(numbers)}."
        if numbers
        else ""
    )


def _judges_apart(summary: CampaignSummary) -> Plot:
    """Empty if one judge does both."""
    training, evaluation = "training_win_rate_base", "win_rate_base"
    apart = any(
        (by_training := row.number(training)) is not None and by_training != row.number(evaluation)
        for row in summary.rounds
    )
    names = {training: "training judge", evaluation: "evaluation judge"}
    return Plot(
        "Training and evaluation judge",
        "Share of test answers that each judge prefers to the base's; ties count half. If only the "
        "training judge's rises, the policy is over-optimised.",
        "wins",
        SHARE,
        series_by_round(summary, names) if apart else (),
        0.5,
        "equal",
    )


def rating_series(summary: CampaignSummary) -> tuple[Series, ...]:
    points = tuple(
        Point(str(number), rating.estimate, rating.low, rating.high)
        for number, rating in sorted(ratings(summary).items())
        if number and rating.estimate is not None
    )
    return (Series("policy", points),) if points else ()


def _frontier(summary: CampaignSummary) -> Plot:
    """Quality against KL: by score if there is one, else by win rate."""
    scored = any(row.score_mean is not None for row in summary.rounds)
    name = "score_mean" if scored else "win_rate_base"
    what = "Mean score of the judge" if scored else "Win rate against the base"
    points = [point for row in summary.rounds if (point := _reached(row, name)) is not None]
    base = base_number(summary, "score_mean") if scored else 0.5
    if points and base is not None:
        points.insert(0, Point(0.0, base, label="base"))
    return Plot(
        "Reward against KL",
        f"{what} on test prompts against KL to the base, one point per round in order. If KL grows "
        "and reward does not, the round only drifted.",
        "score" if scored else "wins",
        number_format(name),
        (Series("policy", tuple(points)),) if points else (),
        mark="path",
        x_title="KL to base, nats per completion",
        x_form=TWO_DIGITS,
    )


def _reached(row: RoundMetrics, name: str) -> Point | None:
    reached, kl = point(row, name), point(row, "kl_base_nats")
    if reached is None or kl is None:
        return None
    label = f"round {round_label(row)}"
    return Point(kl.y, reached.y, reached.low, reached.high, kl.low, kl.high, label)


def _distance(summary: CampaignSummary) -> Plot:
    budget = kl_budget(summary)
    return Plot(
        "Distance travelled",
        "KL divergence, nats per completion. KL from the base adds up over rounds"
        + ("; the line is the gate's budget." if budget is not None else "."),
        "KL, nats",
        TWO_DIGITS,
        series_by_round(summary, _distances(summary)),
        budget,
        "budget" if budget is not None else "",
        from_zero=True,
    )


def _distances(summary: CampaignSummary) -> Mapping[str, str]:
    """Column → name of its series. Previous policy and reference share one line if they are the
    same in every round, because one line would hide the other."""
    names = {"kl_base_nats": "from base", "kl_previous_nats": "from previous"}
    pairs = [(row.kl_reference_nats, row.kl_previous_nats) for row in summary.rounds]
    if all(reference in (None, previous) for reference, previous in pairs):
        same = any(reference is not None for reference, _ in pairs)
        return {**names, "kl_previous_nats": "from previous = reference"} if same else names
    return {**names, "kl_reference_nats": "from reference"}


def kl_budget(summary: CampaignSummary) -> float | None:
    """The `gate.kl_budget` in force, nats per completion; None if there is none."""
    budget = summary.settings.kl_budget
    return None if budget is None else kl_budget_nats(budget, base_number(summary, "length_mean"))
