"""Which rounds a run is for: up to a number, or so many more than are finished."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dpo_core.campaign.current import read_current
from dpo_core.campaign.facts import is_finished, read_round_row
from dpo_core.campaign.layout import Layout
from dpo_core.text import counted
from flows.config import CampaignConfig

Mode = Literal["up_to", "append"]

NOTHING = "nothing to do"
"""How a run's message begins that played no round."""

_TAG = re.compile(r"rounds:(\d+)-(\d+)")


@dataclass(frozen=True)
class RoundRange:
    """The first and the last round that a run plays."""

    mode: Mode
    first: int
    last: int

    @property
    def tag(self) -> str:
        return f"rounds:{self.first}-{self.last}"

    @property
    def shown(self) -> str:
        if self.first == self.last:
            return f"round {self.last}"
        return f"rounds {self.first}-{self.last}"


def plan(
    mode: Mode, rounds: int | None, config: CampaignConfig, finished: int, tags: Iterable[str]
) -> RoundRange:
    """What a run with these parameters and tags is for, `finished` rounds being finished.

    A run that goes on, after people or a restart, has its tag already: the rounds that it added
    itself are not counted again.
    """
    if mode == "up_to":
        last = rounds or config.rounds
        return RoundRange(mode, min(finished + 1, last), last)
    found = [match for tag in tags if (match := _TAG.fullmatch(tag))]
    if found:
        return RoundRange(mode, int(found[0][1]), int(found[0][2]))
    return RoundRange(mode, finished + 1, finished + (rounds or config.schedule.rounds))


def finished_rounds(layout: Layout) -> int:
    """Rounds that are finished and valid, counted from the first."""
    number = 0
    while is_finished(layout, number + 1):
        number += 1
    return number


def came_to(layout: Layout, plan: RoundRange, before: int) -> str:
    """What a run did to the campaign, which had `before` finished rounds, in one sentence."""
    now = min(finished_rounds(layout), plan.last)
    why = stopped(layout) if now < plan.last else ""
    if now <= before:
        already = f"{counted(before, 'round')} {'is' if before == 1 else 'are'} finished"
        return f"{NOTHING}: {why or already}"
    decided = (read_round_row(layout, now) or {}).get("decision") or ""
    done = RoundRange(plan.mode, min(before + 1, now), now).shown
    parts = dict.fromkeys((f"{done} finished", decided, why))  # a gate that stops says both
    return "; ".join(part for part in parts if part)


def stopped(layout: Layout) -> str:
    """Why the campaign plays no further round, or nothing."""
    found = read_current(layout).get("stopped") or {}
    return str(found.get("sentence", ""))
