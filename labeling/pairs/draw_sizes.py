"""How many prompts a round draws next, until it has enough pairs: pure arithmetic.

A round that wants a number of pairs draws prompts, looks how many pairs their answers gave, and
draws more. What it looks at are whole draws in their order, so that the same prompts are drawn
whatever the number of engines, and after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

_SMALLEST = 8
"""A draw is at least this part of the largest: each is a pause of the engines."""

EndedBy = Literal["pairs", "budget", "pool", "length"]

_WHY: Mapping[str, str] = {
    "budget": "sampling.budget_tokens, {budget_tokens:,}, is spent. Raise it, or give prompts "
    "whose answers differ more: prompts.prefer informative draws those first",
    "pool": "no more prompts are left to draw. Give more, or lower sampling.until_pairs",
    "length": "all of them are too long to be answered. Raise sampling.max_model_len",
}


@dataclass(frozen=True)
class PairGoal:
    """So many `pairs`, for at most `budget_tokens` sampled tokens. per_draw: prompts of the largest
    draw; tokens_per_prompt: the most that the answers to one can have."""

    pairs: int
    budget_tokens: int
    per_draw: int
    tokens_per_prompt: int


@dataclass(frozen=True)
class DrawProgress:
    """What the draws of a round came to: prompts, tokens of their answers, pairs.

    used_up: the last draw found fewer prompts than it wanted.
    """

    prompts: int = 0
    tokens: int = 0
    pairs: int = 0
    used_up: bool = False


def stop_reason(goal: PairGoal, so_far: DrawProgress) -> EndedBy | None:
    """Why no more prompts are drawn, or None: more are."""
    if so_far.pairs >= goal.pairs:
        return "pairs"
    if so_far.tokens >= goal.budget_tokens:
        return "budget"
    if so_far.used_up:
        return "pool"
    return "length" if so_far.prompts and not so_far.tokens else None


def next_draw(goal: PairGoal, so_far: DrawProgress) -> int:
    """Prompts of the next draw, at least one: as many as the pairs that are lacking take at the
    rate of those before, and as the rest of the budget pays for.

    The first draw keeps within the budget however long answers are, later ones if they are as long
    as those before.
    """
    if not so_far.tokens:
        return max(1, min(goal.per_draw, goal.budget_tokens // goal.tokens_per_prompt))
    wanted = goal.per_draw
    if so_far.pairs:
        lacking = goal.pairs - so_far.pairs
        wanted = max(ceil(lacking * so_far.prompts / so_far.pairs), ceil(goal.per_draw / _SMALLEST))
    left = goal.budget_tokens - so_far.tokens
    affordable = max(1, left * so_far.prompts // so_far.tokens)
    return min(wanted, affordable, goal.per_draw)


def outcome(goal: PairGoal, so_far: DrawProgress, ended: EndedBy) -> dict[str, Any]:
    """What the drawing came to, as the ledger has it."""
    return {
        "until_pairs": goal.pairs,
        "budget_tokens": goal.budget_tokens,
        "drawn": so_far.prompts,
        "sampled_tokens": so_far.tokens,
        "pairs": so_far.pairs,
        "ended_by": ended,
    }


def shortfall_message(found: Mapping[str, Any]) -> str | None:
    """Why a round has fewer pairs than were wanted, in a sentence; found: its outcome, or nothing
    where none was wanted."""
    if found.get("ended_by") not in _WHY:
        return None
    return (
        f"{found['pairs']:,} of {found['until_pairs']:,} pairs after {found['drawn']:,} prompts: "
        f"{_WHY[found['ended_by']].format(**found)}."
    )
