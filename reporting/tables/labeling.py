"""Tables of the sources of preferences: judges, people, and their agreement."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import Agreed, AgreementNumbers, Part
from dpo_core.text import visible
from reporting.cells import ColumnSpecs, TableSection, cell, count, headings
from reporting.number_formats import SHARE, format_duration, write_number
from reporting.summary import CampaignSummary


def _share(value: float) -> str:
    return write_number(value, SHARE)


NamedNumbers = tuple[str, int, Mapping[str, float]]
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
    columns: ColumnSpecs = (
        ("pairs", "pairs", count),
        ("abstention_rate", "abstained", _share),
        ("ties", "ties", count),
        ("position_bias", "position", _share),
        ("self_consistency", "consistent", _share),
        ("longer_win_rate", "longer", _share),
        ("win_rate_per_100_tokens", "slope", None),
        ("money", "money", "{:.4g}".format),
    )
    note = (
        "position: both orders prefer the same place · consistent: same verdict when asked again · "
        "longer: wins of the longer answer · slope: win rate gained per 100 tokens of length"
    )
    return _by_name("Who judged", note, "judge", columns, _collect(summary, lambda row: row.judges))


def _calibration(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("n", "shared pairs", count),
        ("right", "right", count),
        ("error_before", "error before", "{:.3f}".format),
        ("error_after", "error after", "{:.3f}".format),
    )
    note = (
        "shared pairs: of earlier rounds, judged by people too · error: expected calibration error "
        "of the judge's confidence, before and after fitting it to people's answers"
    )
    numbers = _collect(summary, lambda row: row.calibration)
    return _by_name("Calibration of the judges", note, "judge", columns, numbers)


def _audit(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("count", "found", count),
        ("of", "of", count),
        ("share", "share", _share),
    )
    audit = _collect(summary, lambda row: row.audit)
    findings = (finding for finding in audit if finding[2]["count"])
    note = "before training · a blocking finding stops the round: docs/audit.md"
    return _by_name("What the audit found", note, "finding", columns, findings)


def _requests(summary: CampaignSummary) -> TableSection:
    """How people were asked, by mode, because the mode affects what a label means."""
    columns: ColumnSpecs = (
        ("asked_pair", "pairs", count),
        ("asked_gold", "gold", count),
        ("asked_repeat", "repeats", count),
        ("by_mode_blind", "labels, blind", count),
        ("by_mode_review", "labels, review", count),
        ("answers_missing", "missing", count),
        ("seconds_waited", "waited", format_duration),
    )
    note = (
        "gold, repeats: hidden items that measure annotator accuracy and consistency · blind: "
        "without a judge's verdict, review: with it as a suggestion"
    )
    labels = ((row.round, _flat(row.labels)) for row in summary.rounds if row.labels is not None)
    rows = (((f"round {number}",), numbers) for number, numbers in labels if numbers)
    return _table("How people were asked", note, ("people",), columns, rows)


def _people(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("labels", "labels", count),
        ("discarded", "discarded", count),
        ("gold_value", "gold right", _share),
        ("gold_n", "of", count),
        ("repeats_value", "repeats same", _share),
        ("repeats_n", "of", count),
        ("shown_first_value", "prefers A", _share),
    )
    note = "repeats same: same verdict on a repeated pair · prefers A: share of A among A and B"
    return _by_name(
        "Who labelled", note, "person", columns, _collect(summary, lambda row: row.annotators)
    )


def _agreement(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("kappa", "κ with people", None),
        ("kappa_n", "on", count),
        ("alpha", "α", None),
        ("alpha_n", "on", count),
        ("share", "with others", _share),
        ("share_n", "on", count),
    )
    note = (
        "κ, α: 1 perfect, 0 chance · with others: share of the others' votes that agree · on: "
        "number of pairs, for α of answers"
    )
    numbers = [
        (who, row.round, agreed)
        for row in summary.rounds
        for who, agreed in _agreements(row.agreement or AgreementNumbers()).items()
    ]
    numbers.sort(key=lambda entry: entry[:2])
    return _by_name("Do they agree?", note, "who", columns, numbers)


def _agreements(agreement: AgreementNumbers) -> dict[str, dict[str, float]]:
    """Agreement by name: of each judge, of each person, and of all people together."""
    by_name: dict[str, dict[str, float]] = defaultdict(dict)
    entries = [
        ("all people", "alpha", agreement.alpha or Agreed()),
        *((judge, "kappa", agreed) for judge, agreed in agreement.kappa.items()),
        *((source, "share", agreed) for source, agreed in agreement.with_others.items()),
    ]
    for who, name, agreed in entries:
        if agreed.value is not None:
            by_name[who] |= {name: agreed.value, f"{name}_n": agreed.n or 0}
    return by_name


def _collect(
    summary: CampaignSummary, read: Callable[[RoundMetrics], Mapping[str, Part] | None]
) -> list[NamedNumbers]:
    """Numbers of each name in each round, by name and then by round."""
    collected = [
        (who, row.round, _flat(numbers))
        for row in summary.rounds
        for who, numbers in (read(row) or {}).items()
    ]
    return sorted(collected, key=lambda entry: entry[:2])


def _by_name(
    title: str, note: str, who: str, columns: ColumnSpecs, numbers: Iterable[NamedNumbers]
) -> TableSection:
    """One row per name and round."""
    rows = (((visible(name), str(round_)), metrics) for name, round_, metrics in numbers)
    return _table(title, note, (who, "round"), columns, rows)


def _table(
    title: str,
    note: str,
    names: tuple[str, ...],
    columns: ColumnSpecs,
    entries: Iterable[tuple[tuple[str, ...], Mapping[str, float]]],
) -> TableSection:
    """Rows of names and numbers, without empty columns."""
    rows = list(entries)
    some = _filled_columns(columns, [numbers for _, numbers in rows])
    lines = tuple(
        (*named, *(cell(key, finite(numbers.get(key)), write) for key, _, write in some))
        for named, numbers in rows
    )
    return TableSection(title, note, (*names, *headings(some)), lines)


def _flat(part: Part) -> dict[str, float]:
    """{"gold": {"value": 1}} as {"gold_value": 1}."""
    flat: dict[str, object] = {}
    for name, value in part.model_dump(exclude_unset=True).items():
        if not isinstance(value, Mapping):
            flat[name] = value
        elif value.get("value", 0) is not None:  # skip the count of a share of nothing
            flat |= {f"{name}_{inner}": number for inner, number in value.items()}
    return {name: value for name, value in flat.items() if isinstance(value, int | float)}


def _filled_columns(columns: ColumnSpecs, rows: Sequence[Mapping[str, float]]) -> ColumnSpecs:
    """The columns that are not empty; money only if some was spent."""
    return [
        spec
        for spec in columns
        if any(spec[0] in row for row in rows)
        and (spec[0] != "money" or any(row.get("money") for row in rows))
    ]
