"""Tables of the sources of preferences: judges, people, and their agreement."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dpo_core.text import visible
from reporting.cells import ColumnSpecs, TableSection, cell, count, headings, percent
from reporting.numbers import Row
from reporting.summary import CampaignSummary

NamedNumbers = tuple[str, int, Mapping[str, Any]]
"""(name, round, numbers)."""


def labelling_sections(summary: CampaignSummary) -> tuple[TableSection, ...]:
    """The tables, in the order of the labeling pipeline."""
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
        "position: both orders prefer the same place · consistent: same verdict when asked again · "
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
        "shared pairs: of earlier rounds, judged by people too · error: expected calibration error "
        "of the judge's confidence, before and after fitting it to people's answers"
    )
    numbers = _nested(summary, "calibration")
    return _by_name("Calibration of the judges", note, "judge", shown, numbers)


def _audit(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (("count", "found", count), ("of", "of", count), ("share", "%", percent))
    findings = (finding for finding in _nested(summary, "audit") if finding[2]["count"])
    note = "before training · a blocking finding stops the round: docs/audit.md"
    return _by_name("What the audit found", note, "finding", shown, findings)


def _requests(summary: CampaignSummary) -> TableSection:
    """How people were asked, by mode, because the mode affects what a label means."""
    shown: ColumnSpecs = (
        ("asked_pair", "pairs", count),
        ("asked_gold", "gold", count),
        ("asked_repeat", "repeats", count),
        ("by_mode_blind", "labels, blind", count),
        ("by_mode_review", "labels, review", count),
        ("answers_missing", "missing", count),
        ("seconds_waited", "waited, hours", lambda seconds: f"{seconds / 3600:.2f}"),
    )
    note = (
        "gold, repeats: hidden items that measure annotator accuracy and consistency · blind: "
        "without a judge's verdict, review: with it as a suggestion"
    )
    labels = ((f"round {row['round']}", row.get("labels") or {}) for row in summary.rounds)
    rows = (((name,), numbers) for name, numbers in labels if numbers)
    return _table("How people were asked", note, ("people",), shown, rows)


def _people(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
        ("labels", "labels", count),
        ("discarded", "discarded", count),
        ("gold_value", "gold right %", percent),
        ("gold_n", "of", count),
        ("repeats_value", "repeats same %", percent),
        ("repeats_n", "of", count),
        ("shown_first_value", "prefers A %", percent),
    )
    note = "repeats same: same verdict on a repeated pair · prefers A: share of A among A and B"
    return _by_name("Who labelled", note, "person", shown, _nested(summary, "annotators"))


def _agreement(summary: CampaignSummary) -> TableSection:
    shown: ColumnSpecs = (
        ("kappa", "κ with people", "{:.2f}".format),
        ("kappa_n", "on", count),
        ("alpha", "α", "{:.2f}".format),
        ("alpha_n", "on", count),
        ("share", "with others %", percent),
        ("share_n", "on", count),
    )
    note = (
        "κ, α: 1 perfect, 0 chance · with others: share of the others' votes that agree · on: "
        "number of pairs, for α of answers"
    )
    numbers = _collect(summary, lambda row: _agreements(row.get("agreement") or {}))
    return _by_name("Do they agree?", note, "who", shown, numbers)


def _agreements(agreement: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Agreement by name: of each judge, of each person, and of all people together."""
    by_name: dict[str, dict[str, Any]] = defaultdict(dict)
    entries = [("all people", "alpha", agreement["alpha"])] if agreement else []
    entries += [(judge, "kappa", value) for judge, value in agreement.get("kappa", {}).items()]
    entries += [
        (source, "share", value) for source, value in agreement.get("with_others", {}).items()
    ]
    for who, name, value in entries:
        if value["value"] is not None:
            by_name[who] |= {name: value["value"], f"{name}_n": value["n"]}
    return by_name


def _nested(summary: CampaignSummary, name: str) -> list[NamedNumbers]:
    """Numbers of a column that maps names to numbers."""
    return _collect(summary, lambda row: row.get(name) or {})


def _collect(
    summary: CampaignSummary, read: Callable[[Row], Mapping[str, Mapping[str, Any]]]
) -> list[NamedNumbers]:
    """Numbers of each name in each round, by name and then by round."""
    collected = [
        (who, int(row["round"]), numbers)
        for row in summary.rounds
        for who, numbers in read(row).items()
    ]
    return sorted(collected, key=lambda entry: entry[:2])


def _by_name(
    title: str, note: str, who: str, shown: ColumnSpecs, numbers: Iterable[NamedNumbers]
) -> TableSection:
    """One row per name and round."""
    rows = (((visible(name), str(round_)), metrics) for name, round_, metrics in numbers)
    return _table(title, note, (who, "round"), shown, rows)


def _table(
    title: str,
    note: str,
    names: tuple[str, ...],
    shown: ColumnSpecs,
    entries: Iterable[tuple[tuple[str, ...], Mapping[str, Any]]],
) -> TableSection:
    """Rows of names and numbers, without empty columns."""
    rows = [(named, _flat(numbers)) for named, numbers in entries]
    some = _filled_columns(shown, [numbers for _, numbers in rows])
    lines = tuple(
        (*named, *(cell(numbers, key, write) for key, _, write in some)) for named, numbers in rows
    )
    return TableSection(title, note, (*names, *headings(some)), lines)


def _flat(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """{"gold": {"value": 1}} as {"gold_value": 1}."""
    flat: dict[str, Any] = {}
    for name, value in numbers.items():
        if not isinstance(value, Mapping):
            flat[name] = value
        elif value.get("value", 0) is not None:  # skip the count of a share of nothing
            flat |= {f"{name}_{inner}": number for inner, number in value.items()}
    return flat


def _filled_columns(shown: ColumnSpecs, rows: Sequence[Mapping[str, Any]]) -> ColumnSpecs:
    """The columns that are not empty; money only if some was spent."""
    return [
        spec
        for spec in shown
        if any(row.get(spec[0]) is not None for row in rows)
        and (spec[0] != "money" or any(row["money"] for row in rows))
    ]
