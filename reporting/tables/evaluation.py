"""Tables of the evaluation: ratings, slices, suites, relevance, variety of the answers."""

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.cells import (
    ColumnSpecs,
    TableSection,
    cell,
    count,
    table_beside_base,
)
from reporting.number_formats import format_estimate
from reporting.numbers import ratings
from reporting.summary import CampaignSummary


def evaluation_sections(summary: CampaignSummary) -> tuple[TableSection, ...]:
    return (
        _ratings(summary),
        _slices(summary),
        _suites(summary),
        _relevance(summary),
        _variety(summary),
    )


def cycles(row: RoundMetrics) -> tuple[str, ...]:
    """Rounds that beat each other in a cycle, as "r3 > r2 > r1 > r3"."""
    names = [[_policy(number) for number in cycle] for cycle in row.cycles or () if cycle]
    return tuple(" > ".join([*cycle, cycle[0]]) for cycle in names)


def _policy(number: int) -> str:
    return f"r{number}" if number else "base"


def _ratings(summary: CampaignSummary) -> TableSection:
    """Ratings of all policies by the matches of all rounds so far, best first."""
    rows = tuple(
        (_policy(number), format_estimate("rating", each.estimate, each.low, each.high))
        for number, each in sorted(
            ratings(summary).items(), key=lambda rating: -(rating[1].estimate or 0.0)
        )
    )
    note = (
        "by the matches of all rounds so far · logits, base at 0; a lead of 1 is a win rate of "
        "73% · [confidence interval]"
    )
    circles = "; ".join(cycles(summary.rounds[-1]))
    if circles:
        note += f" · cycles: {circles}, so no ranking is consistent"
    return TableSection("All policies on one scale", note, ("policy", "rating"), rows)


def _slices(summary: CampaignSummary) -> TableSection:
    """Slices of the last round; significant ones first."""
    last = summary.rounds[-1]
    slices = (last.slices or {}).items()
    order = sorted(slices, key=lambda group: (not group[1].flagged, group[0]))
    rows = tuple(
        (
            visible(name),
            cell("prompts", group.prompts, count),
            format_estimate("win_rate", group.win_rate, group.low, group.high),
            cell("p_adjusted", group.p_adjusted),
            "yes" if group.flagged else "no",
        )
        for name, group in order
    )
    note = f"round {last.round} against the previous policy · p: adjusted for the number of slices"
    header = ("slice", "prompts", "wins", "p", "significant")
    return TableSection("Where is it better or worse?", note, header, rows)


def _suites(summary: CampaignSummary) -> TableSection:
    rows = tuple(
        (
            visible(name),
            str(row.round),
            cell("prompts", suite.prompts, count),
            format_estimate("score", suite.score, suite.low, suite.high),
            cell("score", suite.before),
            format_estimate("score_change", suite.change, suite.change_low, suite.change_high),
            "yes" if suite.failed else "no",
        )
        for row in summary.rounds
        for name, suite in sorted((row.suites or {}).items())
    )
    note = "scores must not fall · change: vs. the previous policy, [confidence interval]"
    header = ("suite", "round", "prompts", "score", "before", "change", "failed")
    return TableSection(
        "Do the regression suites hold?", note, header, tuple(sorted(rows, key=lambda r: r[0]))
    )


_RELEVANCE: ColumnSpecs = (
    ("relevance", "relevant", None),
    ("base_nats_per_token", "nats per token", None),
)


def _relevance(summary: CampaignSummary) -> TableSection:
    note = (
        "relevant: the base's log-probs single out the prompt, and the answer is no copy · nats: "
        "of finished answers, under the base"
    )
    return table_beside_base("Do answers match their prompts?", note, summary, _RELEVANCE)


_VARIETY: ColumnSpecs = (
    ("repetition_share", "repetition", None),
    ("distinct_1", "distinct words", None),
    ("distinct_2", "distinct pairs", None),
    ("self_similarity", "self-similarity", None),
    ("refusal_share", "refusals", None),
)


def _variety(summary: CampaignSummary) -> TableSection:
    note = "of test answers · distinct: share of all · self-similarity: of samples of one prompt"
    return table_beside_base("How varied are the answers?", note, summary, _VARIETY)
