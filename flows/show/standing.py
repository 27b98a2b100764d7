"""Whose policy goes on after the rounds that are finished, by what they and people say."""

from collections.abc import Iterable, Mapping

from dpo_core.campaign.rollbacks import RolledBack
from flows.show.numbers import Row
from flows.show.summary import CampaignSummary


def goes_on(rows: Mapping[int, Row], people: Iterable[RolledBack], number: int) -> int:
    """The round whose policy goes on after round `number`, 0 for the base: a person's word, else
    what the gate named, else the last that was promoted."""
    said = {one.after: one.to for one in people}
    for each in range(number, 0, -1):
        if each in said:
            return said[each]
        row = rows.get(each) or {}
        named = (row.get("gate") or {}).get("goes_on_from")
        if named is not None:
            return int(named)
        if row.get("promoted"):
            return each
    return 0


def standing_number(summary: CampaignSummary) -> int:
    """The round whose policy stands now; 0: the base's."""
    rows = {int(row["round"]): row for row in summary.rounds}
    return goes_on(rows, summary.rolled_back, max(rows, default=0))


def standing_row(summary: CampaignSummary) -> Row:
    """The round whose policy stands; where the base's does, the last one."""
    number = standing_number(summary)
    return next((row for row in summary.rounds if row["round"] == number), summary.rounds[-1])
