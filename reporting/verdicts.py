"""A badge for a campaign: whether a round was promoted, and how far to trust that."""

from dataclasses import dataclass
from typing import Literal

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.at_a_glance import list_concerns
from reporting.certification import NOT_CERTIFIED, certification_status
from reporting.number_formats import COLLAPSED_NATS
from reporting.sentences import is_open
from reporting.summary import CampaignSummary

Tone = Literal["good", "warn", "bad", "quiet"]


@dataclass(frozen=True)
class TrustVerdict:
    """A few words, and whether they are good news."""

    text: str
    tone: Tone


def judge_round(summary: CampaignSummary, row: RoundMetrics) -> TrustVerdict:
    """Of one round."""
    if is_open(row):
        return TrustVerdict("awaiting decision", "warn")
    if is_collapsed(row):
        return TrustVerdict("collapsed, promoted" if row.promoted else "collapsed, refused", "bad")
    if not row.promoted:
        return TrustVerdict("refused", "bad")
    if certification_status(row) == NOT_CERTIFIED:
        return TrustVerdict("promoted, not certified", "warn")
    if list_concerns(summary, row):
        return TrustVerdict("promoted with warnings", "warn")
    return TrustVerdict("promoted", "good")


def judge_campaign(summary: CampaignSummary) -> TrustVerdict:
    """Of the last round; of a campaign without one, that there is none."""
    if not summary.rounds:
        return TrustVerdict("no round yet", "quiet")
    return judge_round(summary, summary.rounds[-1])


def is_collapsed(row: RoundMetrics) -> bool:
    return row.kl_base_nats is not None and row.kl_base_nats > COLLAPSED_NATS
