"""The tables of a comparison: one row per campaign, or one column per campaign round by round."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.cells import TableSection, cell, cell_with_error, cell_with_interval, count, percent
from reporting.compare.sides import CampaignComparison, Side
from reporting.numbers import MISSING

Write = Callable[[RoundMetrics, str], str]


def _decimals(row: RoundMetrics, name: str) -> str:
    return cell_with_interval(row, name, "{:.2f}".format)


def _percents(row: RoundMetrics, name: str) -> str:
    return cell_with_interval(row, name, percent)


def _controlled(row: RoundMetrics, name: str) -> str:
    text = _percents(row, name)
    return f"{text} extrapolated" if row.number(f"{name}_extrapolated") else text


def _tokens(row: RoundMetrics, name: str) -> str:
    return cell_with_interval(row, name, "{:.1f}".format)


_BY_ROUND: tuple[tuple[str, str, str, Write], ...] = (
    ("win_rate_base", "Win rate vs. base", "% · ties count half · [interval]", _percents),
    ("lc_win_rate_base", "Length-controlled win rate vs. base", "% · [interval]", _controlled),
    ("win_rate_previous", "Win rate vs. previous policy", "% · [interval]", _percents),
    ("rating", "Rating", "logits, base at 0, within each campaign · [interval]", _decimals),
    ("kl_base_nats", "KL to the base", "nats per completion ± s.e.", cell_with_error),
    ("length_mean", "Mean length", "tokens · [interval]", _tokens),
    ("score_mean", "Score", "by the evaluation judge · [interval]", _decimals),
)
_COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds_round": ("hours", lambda value: f"{value / 3600:.3g}"),
    "gpu_seconds": ("GPU hours", lambda value: f"{value / 3600:.3g}"),
    "cpu_seconds": ("CPU hours", lambda value: f"{value / 3600:.3g}"),
    "tokens_in": ("tokens in", "{:,.0f}".format),
    "tokens_out": ("tokens out", "{:,.0f}".format),
    "labels": ("human labels", count),
    "money": ("money", "{:,.2f}".format),
}


def tables(comparison: CampaignComparison) -> tuple[TableSection, ...]:
    """All tables that are not empty."""
    candidates = (
        _incumbents(comparison),
        *_rounds(comparison),
        _costs(comparison),
        _settings(comparison),
    )
    return tuple(section for section in candidates if section.rows)


def _incumbents(comparison: CampaignComparison) -> TableSection:
    header = (
        "campaign",
        "state",
        "rounds",
        "current",
        "wins vs base %",
        "LC wins vs base %",
        "KL to base",
        "mean length",
    )
    rows = tuple(_incumbent(side) for side in comparison.sides)
    known = [n for n in range(len(header)) if any(row[n] != MISSING for row in rows)]
    return TableSection(
        "Current policies",
        "current: the policy that the next round starts from · LC: length-controlled · [interval] "
        "· KL: nats ± s.e.",
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
        _percents(row, "win_rate_base"),
        _controlled(row, "lc_win_rate_base"),
        cell_with_error(row, "kl_base_nats"),
        _tokens(row, "length_mean"),
    )


def _rounds(comparison: CampaignComparison) -> Iterator[TableSection]:
    """One table per number: a row per round, a column per campaign."""
    for name, title, note, write in _BY_ROUND:
        known = any(
            row.number(name) is not None for s in comparison.sides for row in s.summary.rounds
        )
        if known:
            rows = tuple(
                (_round(comparison, n), *(write(side.row(n), name) for side in comparison.sides))
                for n in comparison.numbers
            )
            yield TableSection(
                title, note, ("round", *(side.label for side in comparison.sides)), rows
            )


def _round(comparison: CampaignComparison, number: int) -> str:
    """The number, marked if all campaigns have the same policy."""
    first, *others = comparison.sides
    shared = all(comparison.shared_rounds(first, other) >= number for other in others)
    return f"{number} (shared)" if shared else str(number)


def _costs(comparison: CampaignComparison) -> TableSection:
    totals = [_total(side) for side in comparison.sides]
    names = [name for name in _COSTS if any(total[name] for total in totals)]
    rows = tuple(
        (side.label, *(cell(total[name], _COSTS[name][1]) for name in names))
        for side, total in zip(comparison.sides, totals, strict=True)
    )
    note = "all finished rounds · shared rounds count in each campaign"
    header = ("campaign", *(_COSTS[name][0] for name in names))
    return TableSection("Cost", note, header, rows if names else ())


def _total(side: Side) -> dict[str, float | None]:
    """Sums over the rounds; None if no round has the number."""
    rows = side.summary.rounds
    sums = {name: _sum(row.number(name) for row in rows) for name in _COSTS}
    return {**sums, "labels": _sum(map(_labels, rows))}


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _labels(row: RoundMetrics) -> float | None:
    """Human answers in the round."""
    answers = row.labels.answers if row.labels is not None else {}
    return float(sum(answers.values())) if answers else None


def _settings(comparison: CampaignComparison) -> TableSection:
    rows = tuple((key, *values) for key, values in comparison.settings.items())
    header = ("key", *(side.label for side in comparison.sides))
    note = f"keys of campaign.yaml whose values differ · {MISSING}: not set"
    return TableSection("Config differences", note, header, rows)
