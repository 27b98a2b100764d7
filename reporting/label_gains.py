"""What the labels of a round gained: change of win rate and of score per hundred labels."""

from dataclasses import dataclass

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.records import is_person
from reporting.number_formats import format_estimate
from reporting.numbers import base_number
from reporting.summary import CampaignSummary

PER = 100


@dataclass(frozen=True)
class LabelValue:
    """A number, and its confidence interval if known."""

    estimate: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LabelGains:
    """Gains per hundred labels of the round; None if unknown. Win rates are shares."""

    round: int
    labels: int
    win_rate: LabelValue | None
    score: LabelValue | None


def label_gains(summary: CampaignSummary) -> tuple[LabelGains, ...]:
    """The gains of each round that had labels.

    The labels are credited with the whole change against the policy that the round started from:
    its win rate above one half, and its mean score above that policy's. The interval of the win
    rate is scaled; that of the score is unknown here, because the two policies share prompts.
    """
    gains = []
    scores = {"base": base_number(summary, "score_mean")}
    for row in summary.rounds:
        count = count_labels(row)
        if count:
            before = scores.get(str(row.previous_policy), scores["base"])
            gains.append(_round_gains(row, count, before))
        scores[str(row.policy)] = row.score_mean
    return tuple(gains)


def _round_gains(row: RoundMetrics, count: int, before: float | None) -> LabelGains:
    scale = PER / count
    rate, low, high = row.interval("win_rate_previous")
    now = row.score_mean
    wins = None
    if rate is not None:
        ends = [None if end is None else (end - 0.5) * scale for end in (low, high)]
        wins = LabelValue((rate - 0.5) * scale, *ends)
    score = None if now is None or before is None else LabelValue((now - before) * scale)
    return LabelGains(row.round, count, wins, score)


def format_points(value: LabelValue, level: float | None = None) -> str:
    """A gain of win rate in percentage points with its interval, whose level may be named."""
    low, high = (None if end is None else 100 * end for end in (value.low, value.high))
    return format_estimate("points", 100 * value.estimate, low, high, level)


def count_labels(row: RoundMetrics) -> int:
    """Verdicts of judges and people in the round; for rounds of older versions, the pairs that its
    judges judged."""
    if row.labels_by_source is not None:
        return sum(row.labels_by_source.values())
    return sum(judge.pairs or 0 for judge in (row.judges or {}).values())


def count_human_labels(row: RoundMetrics) -> int | None:
    """Verdicts of people in the round; None if no person was asked or labels were not counted by
    source."""
    by_source = row.labels_by_source or {}
    counts = [count for source, count in by_source.items() if is_person(source)]
    return sum(counts) if counts else None
