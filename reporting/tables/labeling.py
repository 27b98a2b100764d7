"""Tables of where a campaign's preferences come from: judges, people, how far they agree."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dpo_core.text import visible
from reporting.cells import ColumnSpecs, TableSection, cell, count, headings, percent
from reporting.numbers import Row
from reporting.summary import CampaignSummary

NamedNumbers = tuple[str, int, Mapping[str, Any]]
"""(who, round, numbers)."""


def labelling_sections(summary: CampaignSummary) -> tuple[TableSection, ...]:
    """The tables in the order in which a preference comes about."""
    return (
        _judges(summary),
        _calibration(summary),
        _requests(summary),
        _people(summary),
        _agreement(summary),
        _audit(summary),
    )


def _judges(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
        ("pairs", "pairs", count),
        ("abstention_rate", "abstained %", percent),
        ("ties", "ties", count),
        ("position_bias", "position %", percent),
        ("self_consistency", "consistent %", percent),
        ("longer_win_rate", "longer %", percent),
        ("win_rate_per_100_tokens", "slope", "{:+.2f}".format),
        ("money", "money", "{:.4g}".format),
    )
    note = (
        "position: both orders name the same place · consistent: same verdict when asked again · "
        "longer: wins of the longer answer · slope: win rate gained per 100 tokens of length"
    )
    return _by_name("Who judged", note, "judge", shown, _nested(summary, "judges"))


def _calibration(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
        ("n", "shared pairs", count),
        ("right", "right", count),
        ("error_before", "error before", "{:.3f}".format),
        ("error_after", "error after", "{:.3f}".format),
    )
    note = (
        "pairs of earlier rounds that people judged too · error: expected calibration error of the "
        "judge's confidence, before and after it was fitted to people's answers"
    )
    found = _nested(summary, "calibration")
    return _by_name("How far judges are trusted", note, "judge", shown, found)


def _audit(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (("count", "found", count), ("of", "of", count), ("share", "%", percent))
    found = (finding for finding in _nested(summary, "audit") if finding[2]["count"])
    note = "before training · a finding that blocks stops the round: docs/audit.md"
    return _by_name("What the audit found", note, "finding", shown, found)


def _requests(summary: CampaignSummary) -> TableSection:
    """How people were asked: which mode produced how many labels is part of what they mean."""
    shown: ColumnSpecs = (
        ("asked_pair", "pairs", count),
        ("asked_gold", "known", count),
        ("asked_repeat", "repeated", count),
        ("by_mode_blind", "labels, blind", count),
        ("by_mode_review", "labels, review", count),
        ("answers_missing", "missing", count),
        ("seconds_waited", "waited, hours", lambda seconds: f"{seconds / 3600:.2f}"),
    )
    note = (
        "known, repeated: hidden among the pairs to measure who labels · blind: no judge's opinion "
        "was shown, review: it was a suggestion"
    )
    found = ((f"round {row['round']}", row.get("labels") or {}) for row in summary.rounds)
    rows = (((name,), numbers) for name, numbers in found if numbers)
    return _table("How people were asked", note, ("people",), shown, rows)


def _people(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
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


def _agreement(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
        ("kappa", "κ with people", "{:.2f}".format),
        ("kappa_n", "on", count),
        ("alpha", "α", "{:.2f}".format),
        ("alpha_n", "on", count),
        ("share", "as the others %", percent),
        ("share_n", "on", count),
    )
    note = (
        "κ, α: 1 perfect, 0 as by chance · as the others: share of the others' votes that say the "
        "same · on: pairs, of α answers"
    )
    found = _collect(summary, lambda row: _agreements(row.get("agreement") or {}))
    return _by_name("Do they agree?", note, "who", shown, found)


def _agreements(agreement: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Who → what is known of them: judges and persons by their names, all people together."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    named = [("all people", "alpha", agreement["alpha"])] if agreement else []
    named += [(judge, "kappa", one) for judge, one in agreement.get("kappa", {}).items()]
    named += [(source, "share", one) for source, one in agreement.get("with_others", {}).items()]
    for who, name, number in named:
        if number["value"] is not None:
            found[who] |= {name: number["value"], f"{name}_n": number["n"]}
    return found


def _nested(summary: CampaignSummary, name: str) -> list[NamedNumbers]:
    """Of a column that maps names to numbers."""
    return _collect(summary, lambda row: row.get(name) or {})


def _collect(
    summary: CampaignSummary, read: Callable[[Row], Mapping[str, Mapping[str, Any]]]
) -> list[NamedNumbers]:
    """What a round's row says of each name, by name and then by round."""
    found = [
        (who, int(row["round"]), numbers)
        for row in summary.rounds
        for who, numbers in read(row).items()
    ]
    return sorted(found, key=lambda one: one[:2])


def _by_name(
    title: str, note: str, who: str, shown: ColumnSpecs, found: Iterable[NamedNumbers]
) -> TableSection:
    """One row per name and round."""
    rows = (((visible(name), str(round_)), numbers) for name, round_, numbers in found)
    return _table(title, note, (who, "round"), shown, rows)


def _table(
    title: str,
    note: str,
    names: tuple[str, ...],
    shown: ColumnSpecs,
    found: Iterable[tuple[tuple[str, ...], Mapping[str, Any]]],
) -> TableSection:
    """Rows of names and numbers; columns that hold no number anywhere are left out."""
    rows = [(named, _flat(numbers)) for named, numbers in found]
    some = _filled_columns(shown, [numbers for _, numbers in rows])
    lines = tuple(
        (*named, *(cell(numbers, key, write) for key, _, write in some)) for named, numbers in rows
    )
    return TableSection(title, note, (*names, *headings(some)), lines)


def _flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """{"gold": {"value": 1}} as {"gold_value": 1}."""
    found: dict[str, Any] = {}
    for name, value in numbers.items():
        if not isinstance(value, Mapping):
            found[name] = value
        elif value.get("value", 0) is not None:  # a share of nothing has no count worth showing
            found |= {f"{name}_{inner}": one for inner, one in value.items()}
    return found


def _filled_columns(shown: ColumnSpecs, rows: Sequence[Mapping[str, Any]]) -> ColumnSpecs:
    """The columns that hold something; nothing spent is no column."""
    return [
        one
        for one in shown
        if any(row.get(one[0]) is not None for row in rows)
        and (one[0] != "money" or any(row["money"] for row in rows))
    ]
