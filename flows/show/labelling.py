"""Tables of where a campaign's preferences come from: judges, people, how far they agree."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flows.show.cells import Section, cell, count, percent
from flows.show.numbers import visible
from flows.show.summary import CampaignSummary

Shown = Sequence[tuple[str, str, Callable[[float], str]]]
"""(name, heading, how it is written) of each column."""


def labelling_sections(summary: CampaignSummary) -> tuple[Section, ...]:
    return (_judges(summary),)


def _judges(summary: CampaignSummary) -> Section:
    shown: Shown = (
        ("pairs", "pairs", count),
        ("abstention_rate", "abstained %", percent),
        ("ties", "ties", count),
        ("position_bias", "follows position %", percent),
        ("self_consistency", "consistent %", percent),
        ("longer_win_rate", "longer wins %", percent),
        ("win_rate_per_100_tokens", "wins per 100 tokens", "{:+.2f}".format),
        ("money", "money", "{:.4g}".format),
    )
    note = (
        "follows position: both orders name the same place · consistent: same verdict when asked "
        "again · wins per 100 tokens: growth of an answer's win rate with its length"
    )
    return _by_name("Who judged", note, "judge", shown, _nested(summary, "judges"))


def _nested(summary: CampaignSummary, name: str) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """(who, round, numbers) of a column that maps names to numbers, by name and then by round."""
    found = [
        (who, int(row["round"]), numbers)
        for row in summary.rounds
        for who, numbers in (row.get(name) or {}).items()
    ]
    return iter(sorted(found, key=lambda one: one[:2]))


def _by_name(
    title: str,
    note: str,
    who: str,
    shown: Shown,
    found: Iterator[tuple[str, int, Mapping[str, Any]]],
) -> Section:
    """One row per name and round; columns that hold nothing anywhere are left out."""
    rows = list(found)
    some = [one for one in shown if any(numbers.get(one[0]) is not None for _, _, numbers in rows)]
    lines = tuple(
        (visible(name), str(round_), *(cell(numbers, key, write) for key, _, write in some))
        for name, round_, numbers in rows
    )
    return Section(title, note, (who, "round", *(heading for _, heading, _ in some)), lines)
