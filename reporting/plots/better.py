"""Plots of whether the campaign gets better, and how far it went for it."""

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_core.evaluation.comparison import kl_budget_nats
from reporting.numbers import Row, base_number, number
from reporting.plots.model import (
    DECIMAL,
    PERCENT,
    Plot,
    Point,
    Series,
    point,
    round_of,
    series_of,
)
from reporting.summary import CampaignSummary


def better(summary: CampaignSummary) -> Iterator[Plot]:
    """Is the policy better than others, and at what distance from them?"""
    yield _rates(
        summary,
        "Win rate",
        "",
        "Share of held-out test prompts won, ties count half. Above 50 % is better; gate: on the "
        "prompts that decide.",
    )
    yield _rates(
        summary,
        "Length-controlled win rate",
        "lc_",
        "The win rate at equal lengths, by a logistic model of the difference in length. Far below "
        f"the plain one: answers win by being long.{_extrapolated(summary)}",
    )
    yield _judges_apart(summary)
    yield Plot(
        "Rating",
        "Bradley-Terry strength of every policy from all matches so far, in logits; the base is 0. "
        "One logit up wins 73 %.",
        "logits",
        DECIMAL,
        _ratings(summary),
        0.0,
        "base",
    )
    yield _frontier(summary)
    yield _distance(summary)


def _rates(summary: CampaignSummary, title: str, prefix: str, about: str) -> Plot:
    names = {
        f"{prefix}win_rate_base": "against base",
        f"{prefix}win_rate_previous": "against previous",
        f"{prefix}win_rate_gate": "gate",
    }
    return Plot(title, about, "wins", PERCENT, series_of(summary, names), 0.5, "equal")


def _extrapolated(summary: CampaignSummary) -> str:
    found = [
        str(round_of(row))
        for row in summary.rounds
        if any(
            row.get(f"lc_win_rate_{other}_extrapolated") for other in ("base", "previous", "gate")
        )
    ]
    return f" Extrapolated, lengths hardly overlap: round {', '.join(found)}." if found else ""


def _judges_apart(summary: CampaignSummary) -> Plot:
    """Nothing where one judge does both."""
    training, evaluation = "training_win_rate_base", "win_rate_base"
    apart = any(
        (by_training := number(row, training)) is not None
        and by_training != number(row, evaluation)
        for row in summary.rounds
    )
    names = {training: "training judge", evaluation: "evaluation judge"}
    return Plot(
        "Training and evaluation judge",
        "Share of test answers that each judge prefers to the base's, ties count half. The "
        "training judge up while the evaluation judge is not: over-optimised.",
        "wins",
        PERCENT,
        series_of(summary, names) if apart else (),
        0.5,
        "equal",
    )


def _ratings(summary: CampaignSummary) -> tuple[Series, ...]:
    """Of every policy as the last round rates them; else each round's own at its time."""
    last: Mapping[str, Any] = (summary.rounds[-1].get("ratings") or {}) if summary.rounds else {}
    found = [
        Point(name, rating["estimate"], rating.get("low"), rating.get("high"))
        for name, rating in sorted(last.items(), key=lambda one: int(one[0]))
        if name != "0" and number(rating, "estimate") is not None
    ]
    return (Series("policy", tuple(found)),) if found else series_of(summary, {"rating": "policy"})


def _frontier(summary: CampaignSummary) -> Plot:
    """What is gained for the distance travelled: by score where there is one, else by wins."""
    scored = any(number(row, "score_mean") is not None for row in summary.rounds)
    name = "score_mean" if scored else "win_rate_base"
    what = "Mean score of the judge" if scored else "Win rate against the base"
    found = [point for row in summary.rounds if (point := _reached(row, name)) is not None]
    base = base_number(summary, "score_mean") if scored else 0.5
    if found and base is not None:
        found.insert(0, Point(0.0, base, label="base"))
    return Plot(
        "Reward against KL",
        f"{what} on test prompts against KL to the base, one point per round in order. Up is "
        "better, right is further away; a step to the right without one up bought nothing.",
        "score" if scored else "wins",
        DECIMAL if scored else PERCENT,
        (Series("policy", tuple(found)),) if found else (),
        mark="path",
        x_title="KL to base, nats per completion",
    )


def _reached(row: Row, name: str) -> Point | None:
    reached, kl = point(row, name), point(row, "kl_base_nats")
    if reached is None or kl is None:
        return None
    label = f"round {round_of(row)}"
    return Point(kl.y, reached.y, reached.low, reached.high, kl.low, kl.high, label)


def _distance(summary: CampaignSummary) -> Plot:
    budget = kl_budget(summary)
    return Plot(
        "Distance travelled",
        "KL divergence, nats per completion. The one from the base adds up over rounds"
        + ("; the line is the budget of the gate." if budget is not None else "."),
        "KL, nats",
        DECIMAL,
        series_of(summary, _distances(summary)),
        budget,
        "budget" if budget is not None else "",
        from_zero=True,
    )


def _distances(summary: CampaignSummary) -> Mapping[str, str]:
    """Column → name. One line for previous policy and reference where they are the same in every
    round, which one of two lines would hide."""
    names = {"kl_base_nats": "from base", "kl_previous_nats": "from previous"}
    pairs = [(row.get("kl_reference_nats"), row.get("kl_previous_nats")) for row in summary.rounds]
    if all(reference in (None, previous) for reference, previous in pairs):
        same = any(reference is not None for reference, _ in pairs)
        return {**names, "kl_previous_nats": "from previous = reference"} if same else names
    return {**names, "kl_reference_nats": "from reference"}


def kl_budget(summary: CampaignSummary) -> float | None:
    """The `gate.kl_budget` in force."""
    gate = summary.settings.get("gate")
    budget = gate.get("kl_budget") if isinstance(gate, Mapping) else None
    if budget != "auto" and not isinstance(budget, int | float):
        return None
    return kl_budget_nats(budget, base_number(summary, "length_mean"))
