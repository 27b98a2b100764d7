"""Tables of where a campaign's preferences come from: judges, people, how far they agree."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flows.show.cells import Section, cell, count, percent
from flows.show.numbers import visible
from flows.show.summary import CampaignSummary

Shown = Sequence[tuple[str, str, Callable[[float], str]]]
"""(name, heading, how it is written) of each column."""


def labelling_sections(summary: CampaignSummary) -> tuple[Section, ...]:
    return (_judges(summary), _asked(summary), _people(summary), _agreement(summary))


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


def _asked(summary: CampaignSummary) -> Section:
    """How people were asked: which mode produced how many labels is part of what they mean."""
    shown: Shown = (
        ("asked_pair", "pairs", count),
        ("asked_gold", "known", count),
        ("asked_repeat", "repeated", count),
        ("by_mode_blind", "labels, blind", count),
        ("by_mode_review", "labels, review", count),
        ("gold_right", "known, right", count),
        ("answers_missing", "missing", count),
        ("seconds_waited", "waited, hours", lambda seconds: f"{seconds / 3600:.2f}"),
    )
    note = (
        "known, repeated: hidden among the pairs to measure who labels · blind: no judge's opinion "
        "was shown, review: it was a suggestion"
    )
    found = ((f"round {row['round']}", row.get("labels") or {}) for row in summary.rounds)
    rows = [(name, _flat(numbers)) for name, numbers in found if numbers]
    some = [one for one in shown if any(numbers.get(one[0]) is not None for _, numbers in rows)]
    lines = [(name, *(cell(n, key, write) for key, _, write in some)) for name, n in rows]
    header = ("people", *(heading for _, heading, _ in some))
    return Section("How people were asked", note, header, tuple(lines))


def _people(summary: CampaignSummary) -> Section:
    shown: Shown = (
        ("labels", "labels", count),
        ("discarded", "discarded", count),
        ("gold_value", "known right %", percent),
        ("gold_n", "of", count),
        ("repeats_value", "same again %", percent),
        ("repeats_n", "of", count),
        ("shown_first_value", "names A %", percent),
    )
    note = "same again: the same verdict on a pair that came twice · names A: of answers A or B"
    return _by_name("Who labelled", note, "person", shown, _nested(summary, "annotators"))


def _agreement(summary: CampaignSummary) -> Section:
    shown: Shown = (("value", "agreement", "{:.2f}".format), ("n", "on", count))
    note = (
        "κ, α: 1 perfect, 0 as by chance · share: of the others' votes that say the same · on: "
        "pairs or answers"
    )
    found = [
        (who, int(row["round"]), numbers)
        for row in summary.rounds
        for who, numbers in _agreements(row.get("agreement") or {})
        if numbers["value"] is not None
    ]
    return _by_name("Do they agree?", note, "who", shown, iter(sorted(found, key=lambda f: f[:2])))


def _agreements(agreement: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not agreement:
        return
    yield "people, α", agreement["alpha"]
    for judge, kappa in agreement["kappa"].items():
        yield f"{judge} and people, κ", kappa
    for source, rate in agreement["with_others"].items():
        yield f"{source} and the others, share", rate


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
    rows = [(name, round_, _flat(numbers)) for name, round_, numbers in found]
    some = [one for one in shown if any(numbers.get(one[0]) is not None for _, _, numbers in rows)]
    lines = tuple(
        (visible(name), str(round_), *(cell(numbers, key, write) for key, _, write in some))
        for name, round_, numbers in rows
    )
    return Section(title, note, (who, "round", *(heading for _, heading, _ in some)), lines)


def _flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """{"gold": {"value": 1}} as {"gold_value": 1}."""
    found: dict[str, Any] = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            found |= {f"{name}_{inner}": one for inner, one in value.items()}
        else:
            found[name] = value
    return found
