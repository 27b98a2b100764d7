"""The first screen: is it better, at what price, can I trust it?"""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.show.labels_bought import PER, bought, labels_of
from flows.show.numbers import Row, number, visible
from flows.show.sentences import cautions, percent_interval
from flows.show.summary import CampaignSummary
from flows.show.tables.evaluation import cycles
from flows.show.tables.price import points
from labeling.aggregation.votes import is_person

Answered = tuple[str, str]
"""(question, what is known in a sentence or two)."""

CONCERNS_SHOWN = 4
_LENGTH_GAP = 0.05
_KAPPA_WEAK = 0.4


def at_a_glance(summary: CampaignSummary) -> tuple[Answered, ...]:
    """Three questions with their answers; none before the first round has finished."""
    if not summary.rounds:
        return ()
    row = standing_row(summary)
    return (
        ("Better?", _better(row)),
        ("At what price?", _price(summary)),
        ("Can I trust it?", _trust(summary, row)),
    )


def standing_row(summary: CampaignSummary) -> Row:
    """The round whose policy stands; where none was promoted, the last one."""
    promoted = [row for row in summary.rounds if row.get("promoted")]
    return promoted[-1] if promoted else summary.rounds[-1]


def _better(row: Row) -> str:
    parts = [f"Round {row['round']} wins {percent_interval(row, 'win_rate_base')} against the base"]
    if number(row, "lc_win_rate_base") is not None:
        parts.append(f"{percent_interval(row, 'lc_win_rate_base')} at equal length")
    parts.append(f"{percent_interval(row, 'win_rate_previous')} against the policy before it")
    return ", ".join(parts) + "."


def _price(summary: CampaignSummary) -> str:
    rounds = len(summary.rounds)
    said = f"{rounds} round{'' if rounds == 1 else 's'}: {', '.join(_spent(summary))}."
    last = bought(summary)
    if last and last[-1].win_rate is not None:
        gained = points(last[-1].win_rate)
        said += f" At the last round's rate {PER} labels bought {gained} points of win rate."
    return said


def _spent(summary: CampaignSummary) -> Iterator[str]:
    for name, by, form in (
        ("gpu_seconds", 3600, "{:.2f} GPU-hours"),
        ("cpu_seconds", 3600, "{:.2f} CPU-hours"),
        ("seconds_round", 60, "{:.1f} minutes"),
        ("tokens_out", 1, "{:,.0f} tokens written"),
    ):
        total = _total(summary, name)
        if total:
            yield form.format(total / by)
    labels = sum(labels_of(row) for row in summary.rounds)
    people = sum(_people(row) for row in summary.rounds)
    yield f"{labels:,} labels ({people:,} of people)"
    money = _total(summary, "money")
    if money:
        prices: Mapping[str, Any] = summary.settings.get("prices") or {}
        yield f"{visible(str(prices.get('currency', 'money')))} {money:,.2f}"


def _total(summary: CampaignSummary, name: str) -> float:
    return sum(number(row, name) or 0.0 for row in summary.rounds)


def _people(row: Row) -> int:
    by_source: Mapping[str, Any] = row.get("labels_by_source") or {}
    return sum(int(count) for source, count in by_source.items() if is_person(source))


def _trust(summary: CampaignSummary, row: Row) -> str:
    found = [*_measured(row), *cautions(summary, row)]
    if not found:
        return (
            f"Nothing that was measured in round {row['round']} speaks against it. {_checked(row)}"
        )
    shown = " ".join(found[:CONCERNS_SHOWN])
    left = len(found) - CONCERNS_SHOWN
    return f"With care: {shown}" + (f" And {left} more below." if left > 0 else "")


def _checked(row: Row) -> str:
    kappas = ((row.get("agreement") or {}).get("kappa") or {}).values()
    known = [value for one in kappas if (value := number(one, "value")) is not None]
    if not known:
        return "No person's verdict was compared with the judge's."
    return f"Judges agree with people at κ {min(known):.2f}."


def _measured(row: Row) -> Iterator[str]:
    """What the evaluation found that speaks against the win rate."""
    plain, controlled = (number(row, f"{p}win_rate_base") for p in ("", "lc_"))
    if plain is not None and controlled is not None and plain - controlled > _LENGTH_GAP:
        yield f"{100 * (plain - controlled):.0f} points of the win rate are length."
    failed = [name for name, one in (row.get("suites") or {}).items() if one.get("failed")]
    if failed:
        yield f"Suites that fell: {', '.join(map(visible, failed))}."
    worse = [
        name
        for name, one in (row.get("slices") or {}).items()
        if one.get("flagged") and (number(one, "win_rate") or 0.0) < 0.5
    ]
    if worse:
        yield f"Worse on {', '.join(map(visible, worse[:3]))}."
    circles = cycles(row)
    if circles:
        yield f"Rounds beat each other in a circle: {circles[0]}."
    kappas = ((row.get("agreement") or {}).get("kappa") or {}).items()
    for judge, one in kappas:
        value = number(one, "value")
        if value is not None and value < _KAPPA_WEAK:
            yield f"{visible(judge)} agrees with people only at κ {value:.2f}."
