"""The first screen: is it better, at what price, can I trust it?"""

from collections.abc import Iterator

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import counted, visible
from reporting.certification import certification_sentences, certification_summary
from reporting.costs import cost_scope, list_costs
from reporting.label_gains import PER, LabelGains, format_points, label_gains
from reporting.number_formats import format_metric, format_number
from reporting.numbers import lowest_kappa
from reporting.sentences import cautions, incumbent_row
from reporting.summary import CampaignSummary
from reporting.tables.evaluation import cycles

QuestionAnswer = tuple[str, str]
"""(question, its answer in a sentence or two)."""

CONCERNS_SHOWN = 4
SAME_JUDGE = "same judge"
"""Name of the warning, which only the first round carries."""
_LENGTH_GAP = 0.05
_KAPPA_WEAK = 0.4
_FEW_DECIDED = 0.9


def at_a_glance(summary: CampaignSummary) -> tuple[QuestionAnswer, ...]:
    """Three questions with their answers; empty before the first round has finished."""
    if not summary.rounds:
        return ()
    row = incumbent_row(summary)
    return (
        ("Better?", _better(summary, row)),
        ("At what price?", _price(summary)),
        ("Can I trust it?", _trust(summary, row)),
    )


def _better(summary: CampaignSummary, row: RoundMetrics) -> str:
    parts = [f"vs. base: {format_metric(row, 'win_rate_base', summary.settings.confidence)}"]
    if row.lc_win_rate_base is not None:
        note = ", extrapolated" if row.lc_win_rate_base_extrapolated else ""
        parts.append(f"length-controlled {format_metric(row, 'lc_win_rate_base')}{note}")
    previous = _previous(summary, row)
    if previous != "base":
        parts.append(f"vs. {previous}: {format_metric(row, 'win_rate_previous')}")
    return f"Win rate {'; '.join(parts)}."


def _previous(summary: CampaignSummary, row: RoundMetrics) -> str:
    """Name of the policy that the round started from."""
    first, previous = summary.rounds[0], row.previous_policy
    if row.round == 1 or (first.round == 1 and previous == first.previous_policy):
        return "base"
    numbers = [other.round for other in summary.rounds if other.policy == previous]
    return f"round {numbers[0]}" if previous and numbers else "the previous policy"


def _price(summary: CampaignSummary) -> str:
    spent = ", ".join(list_costs(summary))
    scope = cost_scope(summary)
    cost = f"{scope.capitalize()}: {spent}." if spent else "No cost was recorded."
    gains = label_gains(summary)
    return f"{cost} {_gain(gains[-1], summary.settings.confidence)}".rstrip() if gains else cost


def _gain(gains: LabelGains, level: float) -> str:
    """What the labels of the round gained; empty if its win rate is unknown."""
    if gains.win_rate is None:
        return ""
    points = format_points(gains.win_rate, level)
    return f"Round {gains.round}: {points} points of win rate per {PER} labels."


def _trust(summary: CampaignSummary, row: RoundMetrics) -> str:
    """A problem of the evaluation's set-up in any round counts for all rounds."""
    concerns = list_concerns(summary, row)
    checked = (_checked(row), *_looked(summary), *certification_sentences(summary))
    if not concerns:
        return " ".join((f"No metric of round {row.round} gives cause for concern.", *checked))
    left = len(concerns) - CONCERNS_SHOWN
    more = [f"{counted(left, 'more caution')} below."] if left > 0 else []
    return " ".join(("With care.", *concerns[:CONCERNS_SHOWN], *more, *checked))


def list_concerns(summary: CampaignSummary, row: RoundMetrics) -> list[str]:
    """Everything that casts doubt on the round's win rate, each once."""
    return list(dict.fromkeys([*_measured(row), *_same_judge(summary), *cautions(summary, row)]))


def _same_judge(summary: CampaignSummary) -> Iterator[str]:
    if any(SAME_JUDGE in (row.warnings or {}) for row in summary.rounds):
        yield (
            "Training and evaluation share a judge, so reward hacking cannot be ruled out. Set an "
            "independent `evaluation_judge`."
        )


def _checked(row: RoundMetrics) -> str:
    lowest = lowest_kappa(row)
    if lowest is None:
        return "No judge was compared with human labels."
    return f"Lowest agreement of a judge with human labels: κ {format_number('kappa', lowest)}."


def _looked(summary: CampaignSummary) -> Iterator[str]:
    if summary.gate_looks > 1 and certification_summary(summary) is None:
        yield (
            f"The gate decided {summary.gate_looks} times on the same prompts; each time, a policy "
            "that is no better may pass by chance."
        )


def _undecided(row: RoundMetrics) -> Iterator[str]:
    counts = (row.decided or {}).get("base")
    if counts is not None and counts.decided < _FEW_DECIDED * counts.comparisons:
        yield (
            f"Only {counts.decided} of {counts.comparisons} comparisons with the base were decided."
        )


def _irrelevant(row: RoundMetrics) -> Iterator[str]:
    """Nothing unless clearly fewer answers match their prompts than the base's do."""
    share, base, high = row.relevance, row.relevance_base, row.relevance_change_base_high
    if share is not None and base is not None and high is not None and high < 0:
        yield (
            f"Only {format_number('relevance', share)} of answers match their prompts, vs. "
            f"{format_number('relevance', base)} for the base."
        )


def _measured(row: RoundMetrics) -> Iterator[str]:
    """Findings of the evaluation that cast doubt on the win rate."""
    if row.lc_win_rate_base_extrapolated:
        yield (
            "The length-controlled win rate is extrapolated: nearly all answers are longer than "
            "the base's, or nearly all are shorter."
        )
    yield from _undecided(row)
    plain, controlled = row.win_rate_base, row.lc_win_rate_base
    if plain is not None and controlled is not None and plain - controlled > _LENGTH_GAP:
        points = format_number("points", 100 * (controlled - plain))
        yield f"Length control changes the win rate by {points} points."
    yield from _irrelevant(row)
    failed = [name for name, suite in (row.suites or {}).items() if suite.failed]
    if failed:
        yield f"Regression suites that fell: {', '.join(map(visible, failed))}."
    worse = [
        name
        for name, group in (row.slices or {}).items()
        if group.flagged and (group.win_rate or 0.0) < 0.5
    ]
    if worse:
        yield f"Worse on {', '.join(map(visible, worse[:3]))}."
    circles = cycles(row)
    if circles:
        yield f"Rounds beat each other in a cycle: {circles[0]}."
    for judge, kappa in row.agreement.kappa.items() if row.agreement is not None else ():
        if kappa.value is not None and kappa.value < _KAPPA_WEAK:
            agreed = format_number("kappa", kappa.value)
            yield f"{visible(judge)} agrees weakly with human labels: κ {agreed}."
