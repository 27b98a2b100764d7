"""Tables of the evaluation: ratings, slices, suites, relevance, variety of the answers."""

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.cells import (
    ColumnSpecs,
    TableSection,
    cell,
    format_estimate,
    percent,
    table_beside_base,
)
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


def _policy(number: int | str) -> str:
    return "base" if str(number) == "0" else f"r{number}"


def _ratings(summary: CampaignSummary) -> TableSection:
    """Ratings of all policies by the matches of all rounds so far, best first."""
    last = summary.rounds[-1]
    ratings = (last.ratings or {}).items()
    rows = tuple(
        (_policy(name), format_estimate(each.estimate, each.low, each.high, "{:+.2f}".format))
        for name, each in sorted(ratings, key=lambda rating: -(rating[1].estimate or 0.0))
    )
    note = "logits, base at 0; a lead of 1 is a win rate of 73% · [confidence interval]"
    circles = "; ".join(cycles(last))
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
            cell(group.prompts, "{:.0f}".format),
            format_estimate(group.win_rate, group.low, group.high, percent),
            cell(group.p_adjusted, "{:.3f}".format),
            "yes" if group.flagged else "no",
        )
        for name, group in order
    )
    note = f"round {last.round} against the previous policy · p: adjusted for the number of slices"
    header = ("slice", "prompts", "wins %", "p", "significant")
    return TableSection("Where is it better or worse?", note, header, rows)


def _suites(summary: CampaignSummary) -> TableSection:
    rows = tuple(
        (
            visible(name),
            str(row.round),
            cell(suite.prompts, "{:.0f}".format),
            format_estimate(suite.score, suite.low, suite.high, "{:.3f}".format),
            cell(suite.before, "{:.3f}".format),
            format_estimate(suite.change, suite.change_low, suite.change_high, "{:+.3f}".format),
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
