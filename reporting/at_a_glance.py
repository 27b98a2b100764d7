"""The first screen: is it better, at what price, can I trust it?"""

from collections.abc import Iterator

from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import counted, visible
from reporting.certification import certification_sentences, certification_summary
from reporting.label_gains import PER, LabelGains, count_human_labels, count_labels, label_gains
from reporting.numbers import lowest_kappa
from reporting.sentences import cautions, format_win_rate, incumbent_row
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
    parts = [f"vs. base: {format_win_rate(row, 'win_rate_base', summary.settings.confidence)}"]
    if row.lc_win_rate_base is not None:
        note = ", extrapolated" if row.lc_win_rate_base_extrapolated else ""
        parts.append(f"length-controlled {format_win_rate(row, 'lc_win_rate_base')}{note}")
    previous = _previous(summary, row)
    if previous != "base":
        parts.append(f"vs. {previous}: {format_win_rate(row, 'win_rate_previous')}")
    return f"Win rate {'; '.join(parts)}."


def _previous(summary: CampaignSummary, row: RoundMetrics) -> str:
    """Name of the policy that the round started from."""
    first, previous = summary.rounds[0], row.previous_policy
    if row.round == 1 or (first.round == 1 and previous == first.previous_policy):
        return "base"
    numbers = [other.round for other in summary.rounds if other.policy == previous]
    return f"round {numbers[0]}" if previous and numbers else "the previous policy"


def _price(summary: CampaignSummary) -> str:
    rounds = counted(len(summary.rounds), "round")
    spent = ", ".join(list_costs(summary))
    cost = f"{rounds} took {spent}." if spent else f"{rounds}; no cost was recorded."
    gains = label_gains(summary)
    return f"{cost} {_gain(gains[-1], summary.settings.confidence)}".rstrip() if gains else cost


def _gain(gains: LabelGains, level: float) -> str:
    """What the labels of the round gained; empty if its win rate is unknown."""
    if gains.win_rate is None:
        return ""
    value, low, high = (
        None if share is None else 100 * share
        for share in (gains.win_rate.estimate, gains.win_rate.low, gains.win_rate.high)
    )
    assert value is not None
    interval = ""
    if low is not None and high is not None:
        interval = f" ({100 * level:g}% CI {low:.1f} to {high:.1f})"
    if value < 0:
        change = f"changed the win rate by {value:.1f} points per {PER} labels"
    else:
        change = f"gained {value:.1f} points of win rate per {PER} labels"
    return f"Round {gains.round} {change}{interval}.".replace("-", "−")


def list_costs(summary: CampaignSummary) -> Iterator[str]:
    """Time, tokens, labels and money of the whole campaign, each with its unit."""
    for name, what in (("seconds_round", ""), ("gpu_seconds", "GPU-"), ("cpu_seconds", "CPU-")):
        total = _total(summary, name)
        if total:
            yield _duration(total, what)
    generated = _total(summary, "tokens_out")
    if generated:
        yield f"{generated:,.0f} generated tokens"
    if any(row.labels_by_source is not None or row.judges for row in summary.rounds):
        labels = sum(count_labels(row) for row in summary.rounds)
        people = sum(count_human_labels(row) or 0 for row in summary.rounds)
        yield f"{labels:,} labels ({people:,} human)"
    money = _total(summary, "money")
    if money:
        yield f"{visible(summary.settings.currency or 'money')} {money:,.2f}"


def _duration(seconds: float, what: str) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {what}{unit}"
    return f"{seconds:.0f} {what}seconds"


def _total(summary: CampaignSummary, name: str) -> float:
    """Of the whole campaign, its base and discarded attempts included if they were recorded."""
    whole = finite(getattr(summary.cost, name, None))
    return sum(row.number(name) or 0.0 for row in summary.rounds) if whole is None else whole


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
    return f"Lowest agreement of a judge with human labels: κ {lowest:.2f}."


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
            f"Only {100 * share:.0f}% of answers match their prompts, vs. {100 * base:.0f}% for "
            "the base."
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
        points = 100 * (plain - controlled)
        yield f"Length control lowers the win rate by {points:.0f} points."
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
            yield f"{visible(judge)} agrees weakly with human labels: κ {kappa.value:.2f}."
