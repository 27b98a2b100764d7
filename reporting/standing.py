"""Whose policy stands now, as pages name it."""

from dpo_core.campaign.facts import incumbent_round
from reporting.numbers import Row
from reporting.summary import CampaignSummary


def standing_number(summary: CampaignSummary) -> int:
    """The round whose policy stands now; 0: the base's."""
    rows = {int(row["round"]): row for row in summary.rounds}
    return incumbent_round(rows, summary.rolled_back, max(rows, default=0))


def standing_row(summary: CampaignSummary) -> Row:
    """The round whose policy stands; where the base's does, the last one."""
    number = standing_number(summary)
    return next((row for row in summary.rounds if row["round"] == number), summary.rounds[-1])
