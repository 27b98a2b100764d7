"""Tables of the evaluation: ratings, slices, suites, relevance, variety of the answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.text import visible
from reporting.cells import (
    ColumnSpecs,
    Formatter,
    TableSection,
    cell,
    cell_with_interval,
    format_estimate,
    percent,
    table_beside_base,
)
from reporting.numbers import Row, number
from reporting.summary import CampaignSummary


def evaluation_sections(summary: CampaignSummary) -> tuple[TableSection, ...]:
    return (
        _ratings(summary),
        _slices(summary),
        _suites(summary),
        _relevance(summary),
        _variety(summary),
    )


def cycles(row: Row) -> tuple[str, ...]:
    """Rounds that beat each other in a cycle, as "r3 > r2 > r1 > r3"."""
    numbers: Sequence[Sequence[int]] = row.get("cycles") or ()
    names = [[_policy(number) for number in cycle] for cycle in numbers if cycle]
    return tuple(" > ".join([*cycle, cycle[0]]) for cycle in names)


def _policy(number: Any) -> str:
    return "base" if str(number) == "0" else f"r{number}"


def _ratings(summary: CampaignSummary) -> TableSection:
    """Ratings of all policies by the matches of all rounds so far, best first."""
    last = summary.rounds[-1]
    ratings: Mapping[str, Mapping[str, Any]] = last.get("ratings") or {}
    order = sorted(ratings.items(), key=lambda rating: -(number(rating[1], "estimate") or 0.0))
    rows = tuple(
        (_policy(name), _estimate(rating, "estimate", "{:+.2f}".format)) for name, rating in order
    )
    note = "logits, base at 0; a lead of 1 is a win rate of 73% · [confidence interval]"
    circles = "; ".join(cycles(last))
    if circles:
        note += f" · cycles: {circles}, so no ranking is consistent"
    return TableSection("All policies on one scale", note, ("policy", "rating"), rows)


def _estimate(numbers: Mapping[str, Any], name: str, write: Formatter) -> str:
    return format_estimate(
        number(numbers, name), number(numbers, "low"), number(numbers, "high"), write
    )


def _slices(summary: CampaignSummary) -> TableSection:
    """Slices of the last round; significant ones first."""
    last = summary.rounds[-1]
    slices: Mapping[str, Mapping[str, Any]] = last.get("slices") or {}
    order = sorted(slices.items(), key=lambda group: (not group[1].get("flagged"), group[0]))
    rows = tuple(
        (
            visible(name),
            cell(group, "prompts", "{:.0f}".format),
            _estimate(group, "win_rate", percent),
            cell(group, "p_adjusted", "{:.3f}".format),
            "yes" if group.get("flagged") else "no",
        )
        for name, group in order
    )
    note = (
        f"round {last['round']} against the previous policy · p: adjusted for the number of slices"
    )
    header = ("slice", "prompts", "wins %", "p", "significant")
    return TableSection("Where is it better or worse?", note, header, rows)


def _suites(summary: CampaignSummary) -> TableSection:
    rows = tuple(
        (
            visible(name),
            str(int(row["round"])),
            cell(suite, "prompts", "{:.0f}".format),
            _estimate(suite, "score", "{:.3f}".format),
            cell(suite, "before", "{:.3f}".format),
            cell_with_interval(suite, "change", "{:+.3f}".format),
            "yes" if suite.get("failed") else "no",
        )
        for row in summary.rounds
        for name, suite in sorted((row.get("suites") or {}).items())
    )
    note = "scores must not fall · change: vs. the previous policy, [confidence interval]"
    header = ("suite", "round", "prompts", "score", "before", "change", "failed")
    return TableSection(
        "Do the regression suites hold?", note, header, tuple(sorted(rows, key=lambda r: r[0]))
    )


_RELEVANCE: ColumnSpecs = (
    ("relevance", "relevant %", percent),
    ("base_nats_per_token", "nats per token", "{:.2f}".format),
)


def _relevance(summary: CampaignSummary) -> TableSection:
    note = (
        "relevant: the base's log-probs single out the prompt, and the answer is no copy · nats: "
        "of finished answers, under the base"
    )
    return table_beside_base("Do answers match their prompts?", note, summary, _RELEVANCE)


_VARIETY: ColumnSpecs = (
    ("repetition_share", "repetition %", percent),
    ("distinct_1", "distinct words %", percent),
    ("distinct_2", "distinct pairs %", percent),
    ("self_similarity", "self-similarity", "{:.3f}".format),
    ("refusal_share", "refusals %", percent),
)


def _variety(summary: CampaignSummary) -> TableSection:
    note = "of test answers · distinct: share of all · self-similarity: of samples of one prompt"
    return table_beside_base("How varied are the answers?", note, summary, _VARIETY)
