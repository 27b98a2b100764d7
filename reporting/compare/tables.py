"""The tables of a comparison: one row per campaign, or one column per campaign round by round."""

from collections.abc import Callable, Iterator, Mapping

from reporting.cells import TableSection, count
from reporting.compare.sides import CampaignComparison, Side
from reporting.costs import SCOPE, whole_cost
from reporting.number_formats import (
    MISSING,
    format_duration,
    format_estimate,
    format_metric,
    format_number,
)
from reporting.numbers import ratings

Write = Callable[[Side, int], str]


def _metric(name: str) -> Write:
    def write(side: Side, number: int) -> str:
        row = side.row(number)
        text = format_metric(row, name)
        return f"{text} extrapolated" if row.number(f"{name}_extrapolated") else text

    return write


def _rating(side: Side, number: int) -> str:
    rating = ratings(side.summary).get(number)
    if rating is None:
        return MISSING
    return format_estimate("rating", rating.estimate, rating.low, rating.high)


_BY_ROUND: tuple[tuple[str, str, str, Write], ...] = (
    ("win_rate_base", "Win rate vs. base", "ties count half", _metric("win_rate_base")),
    (
        "lc_win_rate_base",
        "Length-controlled win rate vs. base",
        "ties count half",
        _metric("lc_win_rate_base"),
    ),
    (
        "win_rate_previous",
        "Win rate vs. previous policy",
        "ties count half",
        _metric("win_rate_previous"),
    ),
    (
        "rating",
        "Rating",
        "by the matches of all rounds so far, within each campaign · logits, base at 0",
        _rating,
    ),
    ("kl_base_nats", "KL to the base", "nats per completion", _metric("kl_base_nats")),
    ("length_mean", "Mean length", "tokens", _metric("length_mean")),
    ("score_mean", "Score", "by the evaluation judge", _metric("score_mean")),
)
_COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("time", format_duration),
    "gpu_seconds": ("GPU time", format_duration),
    "cpu_seconds": ("CPU time", format_duration),
    "tokens_in": ("tokens in", count),
    "tokens_out": ("tokens out", count),
    "labels": ("labels", count),
    "human": ("human", count),
    "money": ("money", lambda value: format_number("money", value)),
}


def tables(comparison: CampaignComparison) -> tuple[TableSection, ...]:
    """All tables of numbers that are not empty."""
    candidates = (
        _incumbents(comparison),
        *_rounds(comparison),
        _costs(comparison),
    )
    return tuple(section for section in candidates if section.rows)


def _incumbents(comparison: CampaignComparison) -> TableSection:
    header = (
        "campaign",
        "state",
        "rounds",
        "current",
        "wins vs base",
        "LC wins vs base",
        "KL to base",
        "mean length",
    )
    rows = tuple(_incumbent(side) for side in comparison.sides)
    known = [n for n in range(len(header)) if any(row[n] != MISSING for row in rows)]
    return TableSection(
        "Current policies",
        "current: the policy that the next round starts from · LC: length-controlled · "
        "[confidence interval] · KL: nats per completion · length: tokens",
        tuple(header[n] for n in known),
        tuple(tuple(row[n] for n in known) for row in rows),
    )


def _incumbent(side: Side) -> tuple[str, ...]:
    row = side.incumbent_row
    return (
        side.label,
        side.summary.state,
        f"{len(side.summary.rounds)} of {side.summary.rounds_planned}",
        f"round {side.incumbent}" if side.incumbent else "the base",
        format_metric(row, "win_rate_base"),
        _metric("lc_win_rate_base")(side, side.incumbent),
        format_metric(row, "kl_base_nats"),
        format_metric(row, "length_mean"),
    )


def _rounds(comparison: CampaignComparison) -> Iterator[TableSection]:
    """One table per number: a row per round, a column per campaign."""
    for name, title, note, write in _BY_ROUND:
        known = any(
            row.number(name) is not None for s in comparison.sides for row in s.summary.rounds
        )
        if known:
            rows = tuple(
                (_round(comparison, n), *(write(side, n) for side in comparison.sides))
                for n in comparison.numbers
            )
            yield TableSection(
                title,
                f"{note} · [confidence interval]",
                ("round", *(side.label for side in comparison.sides)),
                rows,
            )


def _round(comparison: CampaignComparison, number: int) -> str:
    """The number, marked if all campaigns have the same policy."""
    first, *others = comparison.sides
    shared = all(comparison.shared_rounds(first, other) >= number for other in others)
    return f"{number} (shared)" if shared else str(number)


def _costs(comparison: CampaignComparison) -> TableSection:
    costs = [whole_cost(side.summary) for side in comparison.sides]
    names = [name for name in _COSTS if any(getattr(cost, name) for cost in costs)]
    rows = tuple(
        (side.label, *(_cost(name, getattr(cost, name)) for name in names))
        for side, cost in zip(comparison.sides, costs, strict=True)
    )
    note = f"{SCOPE} · shared rounds count in each campaign"
    header = ("campaign", *(_COSTS[name][0] for name in names))
    return TableSection("Cost", note, header, rows if names else ())


def _cost(name: str, value: float | None) -> str:
    return MISSING if value is None else _COSTS[name][1](value)


def settings_table(comparison: CampaignComparison) -> TableSection:
    rows = tuple((key, *values) for key, values in comparison.settings.items())
    header = ("key", *(side.label for side in comparison.sides))
    note = f"keys of campaign.yaml whose values differ · {MISSING}: not set"
    return TableSection("Config differences", note, header, rows)
