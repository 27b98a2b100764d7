"""The tables of a campaign. The terminal and the HTML report both show exactly these."""

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.cells import (
    ColumnSpecs,
    TableSection,
    cell,
    cell_with_error,
    cell_with_interval,
    count,
    headings,
    percent,
    table_beside_base,
)
from reporting.numbers import STEPS, measure_names, seconds_by_step
from reporting.summary import CampaignSummary
from reporting.tables.evaluation import evaluation_sections
from reporting.tables.first_screen import cost_table, trust_table
from reporting.tables.labeling import labelling_sections


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
            cell_with_interval(row, "win_rate_base", percent),
            cell_with_interval(row, "win_rate_previous", percent),
            cell_with_error(row, "kl_base_nats"),
            cell_with_error(row, "kl_previous_nats"),
            _gated(row),
        )
        for row in summary.rounds
    ]
    header = (
        "round",
        "wins vs base %",
        "wins vs previous %",
        "KL to base",
        "KL to prev.",
        "promoted",
    )
    note = f"{on} · [confidence interval] · ties count half · KL: nats ± s.e."
    return TableSection("Is it better?", note, header, tuple(rows))


def _gated(row: RoundMetrics) -> str:
    """Whether the round was promoted; if not, with the gate's action."""
    if row.promoted:
        return "yes"
    action = row.at_gate.action or "keep"
    return "no" if action == "keep" else f"no, {visible(action)}"


def _answers(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("length_mean", "mean length", "{:.1f}".format),
        ("truncated_share", "truncated %", percent),
        ("score_mean", "score", "{:.3f}".format),
        *((f"measure_{name}", f"{visible(name)} %", percent) for name in measure_names(summary)),
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
        ("loss", "loss", "{:.4f}".format),
        ("accuracy", "accuracy %", percent),
        ("margin", "margin", "{:.3f}".format),
        ("entropy", "entropy", "{:.2f}".format),
    )
    note = (
        "accuracy: pairs with margin > 0 · margin: chosen − rejected log-ratio, nats · "
        "entropy: nats per token"
    )
    return _table("What was trained", note, summary, columns)


def _speed(summary: CampaignSummary) -> TableSection:
    columns: ColumnSpecs = (
        ("round", "round", count),
        ("train_tokens_per_second", "tokens/s", "{:,.0f}".format),
        ("train_flops_per_second", "GFLOP/s", lambda value: f"{value / 1e9:,.1f}"),
        ("mfu", "MFU %", percent),
        ("padding_share", "padding %", percent),
        ("train_peak_memory_gib", "memory GiB", "{:.2f}".format),
    )
    known = any(
        row.number(name) is not None for row in summary.rounds for name, _, _ in columns[1:]
    )
    note = "GFLOP/s: useful operations only, without padding · MFU: share of the device's peak"
    return _table("How fast it trained", note, summary, columns if known else ())


def _table(title: str, note: str, summary: CampaignSummary, columns: ColumnSpecs) -> TableSection:
    """One row per round."""
    rows = [
        tuple(cell(row.number(name), write) for name, _, write in columns) for row in summary.rounds
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
            *(cell(seconds_by_step(row)[step], "{:.1f}".format) for step in (*STEPS, "other")),
            cell(row.seconds_round, "{:.1f}".format),
            cell(row.tokens_per_second, "{:,.0f}".format),
        )
        for row in summary.rounds
    ]
    header = ("round", *STEPS, "other", "whole", "tokens/s")
    note = "seconds · start: starting sampling and training processes · tokens/s: sampling"
    return TableSection("Where the time went", note, header, tuple(rows))
