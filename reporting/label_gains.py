"""What the labels of a round gained: change of win rate and of score per hundred labels."""

from collections.abc import Mapping
from dataclasses import dataclass

from dpo_core.records import is_person
from reporting.numbers import Row, base_number, number, number_and_ends
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
            before = scores.get(str(row.get("previous_policy")), scores["base"])
            gains.append(_round_gains(row, count, before))
        scores[str(row.get("policy"))] = number(row, "score_mean")
    return tuple(gains)


def _round_gains(row: Row, count: int, before: float | None) -> LabelGains:
    scale = PER / count
    rate, low, high = number_and_ends(row, "win_rate_previous")
    now = number(row, "score_mean")
    wins = None
    if rate is not None:
        ends = [None if end is None else (end - 0.5) * scale for end in (low, high)]
        wins = LabelValue((rate - 0.5) * scale, *ends)
    score = None if now is None or before is None else LabelValue((now - before) * scale)
    return LabelGains(int(row["round"]), count, wins, score)


def count_labels(row: Row) -> int:
    """Verdicts of judges and people in the round; for rounds of older versions, the pairs that its
    judges judged."""
    by_source = row.get("labels_by_source")
    if isinstance(by_source, Mapping):
        return int(sum(by_source.values()))
    judges = row.get("judges") or {}
    return sum(int(judge.get("pairs") or 0) for judge in judges.values())


def count_human_labels(row: Row) -> int | None:
    """Verdicts of people in the round; None if no person was asked or labels were not counted by
    source."""
    by_source = row.get("labels_by_source")
    if not isinstance(by_source, Mapping):
        return None
    counts = [int(count) for source, count in by_source.items() if is_person(str(source))]
    return sum(counts) if counts else None
