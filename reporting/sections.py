"""The tables of a campaign. The terminal and the HTML report both show exactly these."""

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.cells import (
    ColumnSpecs,
    TableSection,
    cell,
    count,
    headings,
    table_beside_base,
)
from reporting.number_formats import format_duration, format_metric
from reporting.numbers import STEPS, measure_names, seconds_by_step
from reporting.sentences import is_open
from reporting.summary import CampaignSummary
from reporting.tables.evaluation import evaluation_sections
from reporting.tables.first_screen import cost_table, trust_table
from reporting.tables.labeling import labelling_sections

_SAME_PEAK = 1.001


def first_screen(summary: CampaignSummary) -> tuple[TableSection, ...]:
    """The most important tables: is it better, at what price, can it be trusted."""
    if not summary.rounds:
        return ()
    candidates = (_better(summary), _answers(summary), cost_table(summary), trust_table(summary))
    return tuple(section for section in candidates if section.rows)


def sections(summary: CampaignSummary) -> tuple[TableSection, ...]:
    """All tables that are not empty."""
    if not summary.rounds:
        return ()
    candidates = (
        *first_screen(summary),
        *evaluation_sections(summary),
        _trained(summary),
        _speed(summary),
        *labelling_sections(summary),
        _dropped(summary),
        _time(summary),
    )
    return tuple(section for section in candidates if section.rows)


def _better(summary: CampaignSummary) -> TableSection:
    tests = summary.rounds[-1].test_prompts
    on = "test prompts" if tests is None else f"{tests:.0f} test prompts"
    rows = [
        (
            str(row.round),
            format_metric(row, "win_rate_base"),
            format_metric(row, "win_rate_previous"),
            format_metric(row, "kl_base_nats"),
            _gated(row),
        )
        for row in summary.rounds
    ]
    header = ("round", "wins vs base", "wins vs previous", "KL to base", "promoted")
    level = f"{100 * summary.settings.confidence:g}%"
    note = f"{on} · [{level} confidence interval] · ties count half · KL: nats per completion"
    return TableSection("Is it better?", note, header, tuple(rows))


def _gated(row: RoundMetrics) -> str:
    """Whether the round was promoted; if not, with the gate's action."""
    if row.promoted or is_open(row):
        return "yes" if row.promoted else "not decided yet"
    action = row.at_gate.action or "keep"
    return "no" if action == "keep" else f"no, {visible(action)}"


def _answers(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("length_mean", "mean length", None),
        ("truncated_share", "truncated", None),
        ("score_mean", "score", None),
        *((f"measure_{name}", visible(name), None) for name in measure_names(summary)),
    )
    note = "on the same test prompts · length in tokens · [confidence interval]"
    return table_beside_base("What are the answers like?", note, summary, columns)


def _trained(summary: CampaignSummary) -> TableSection:
    parts = (("pairs_replayed", "replayed", count), ("pairs_delta", "delta", count))
    columns: ColumnSpecs = (
        ("round", "round", count),
        ("prompts", "prompts", count),
        ("completions", "completions", count),
        ("pairs", "pairs kept", count),
        *(part for part in parts if any(row.number(part[0]) for row in summary.rounds)),
        ("steps", "steps", count),
        ("loss", "loss", None),
        ("accuracy", "accuracy", None),
        ("margin", "margin", None),
        ("entropy", "entropy", None),
    )
    note = (
        "accuracy: pairs with margin > 0 · margin: chosen − rejected log-ratio, nats · "
        "entropy: nats per token"
    )
    return _table("What was trained", note, summary, columns)


def _speed(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("round", "round", count),
        ("train_tokens_per_second", "tokens/s", None),
        ("train_flops_per_second", "GFLOP/s", lambda value: f"{value / 1e9:,.1f}"),
        ("mfu", "MFU", None),
        ("padding_share", "padding", None),
        ("train_peak_memory_gib", "memory GiB", None),
    )
    known = any(
        row.number(name) is not None for row in summary.rounds for name, _, _ in columns[1:]
    )
    note = f"GFLOP/s: useful operations only, without padding · MFU: {_peak_note(summary)}"
    return _table("How fast it trained", note, summary, columns if known else ())


def _peak_note(summary: CampaignSummary) -> str:
    """Of which peak the MFU is a share: campaigns before 0.2 measured it in each round."""
    numbers = [(row.train_flops_per_second, row.mfu) for row in summary.rounds]
    peaks = [flops / mfu for flops, mfu in numbers if flops and mfu]
    if peaks and max(peaks) > _SAME_PEAK * min(peaks):
        return "share of the device's peak, measured anew in each round: do not compare rounds"
    return "share of the device's peak"


def _table(title: str, note: str, summary: CampaignSummary, columns: ColumnSpecs) -> TableSection:
    """One row per round."""
    rows = [
        tuple(cell(name, row.number(name), write) for name, _, write in columns)
        for row in summary.rounds
    ]
    return TableSection(title, note, headings(columns), tuple(rows) if columns else ())


def _dropped(summary: CampaignSummary) -> TableSection:
    reasons = dict.fromkeys(reason for row in summary.rounds for reason in (row.dropped or {}))
    rows = [
        (visible(reason), *(str(int((row.dropped or {}).get(reason, 0))) for row in summary.rounds))
        for reason in reasons
    ]
    header = ("reason", *(f"round {row.round}" for row in summary.rounds))
    return TableSection("What was dropped, and why", "counts per round", header, tuple(rows))


def _time(summary: CampaignSummary) -> TableSection:
    rows = [
        (
            str(row.round),
            *(format_duration(seconds_by_step(row)[step]) for step in (*STEPS, "other")),
            format_duration(row.seconds_round),
            cell("tokens_per_second", row.tokens_per_second),
        )
        for row in summary.rounds
    ]
    header = ("round", *STEPS, "other", "whole", "tokens/s")
    note = (
        "of each round's own steps, without rejected attempts · start: starting sampling and "
        "training processes · tokens/s: sampling"
    )
    return TableSection("Where the time went", note, header, tuple(rows))
