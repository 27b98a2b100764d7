"""A badge for a campaign: whether a round was promoted, and how far to trust that."""

from dataclasses import dataclass
from typing import Literal

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.at_a_glance import list_concerns
from reporting.certification import NOT_CERTIFIED, certification_status
from reporting.sentences import COLLAPSED_NATS
from reporting.summary import CampaignSummary

Tone = Literal["good", "warn", "bad", "quiet"]


@dataclass(frozen=True)
class Verdict:
    """A few words, and whether they are good news."""

    text: str
    tone: Tone


def judge_round(summary: CampaignSummary, row: RoundMetrics) -> Verdict:
    """Of one round."""
    if row.at_gate.action == "ask":
        return Verdict("awaiting decision", "warn")
    if is_collapsed(row):
        return Verdict("collapsed, promoted" if row.promoted else "collapsed, refused", "bad")
    if not row.promoted:
        return Verdict("refused", "bad")
    if certification_status(row) == NOT_CERTIFIED:
        return Verdict("promoted, not certified", "warn")
    if list_concerns(summary, row):
        return Verdict("promoted with warnings", "warn")
    return Verdict("promoted", "good")


def judge_campaign(summary: CampaignSummary) -> Verdict:
    """Of the last round; of a campaign without one, that there is none."""
    if not summary.rounds:
        return Verdict("no round yet", "quiet")
    return judge_round(summary, summary.rounds[-1])


def is_collapsed(row: RoundMetrics) -> bool:
    return row.kl_base_nats is not None and row.kl_base_nats > COLLAPSED_NATS
