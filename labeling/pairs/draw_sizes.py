"""How many prompts a round draws next until it has enough pairs: pure arithmetic.

A round with a target number of pairs draws prompts, counts the pairs from their answers, and draws
more. Decisions depend only on whole draws in order, so the same prompts are drawn with any number
of engines and after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

_SMALLEST = 8
"""A draw has at least per_draw / 8 prompts, since each draw pauses the engines."""

EndedBy = Literal["pairs", "budget", "pool", "length"]

_WHY: Mapping[str, str] = {
    "budget": "sampling.budget_tokens, {budget_tokens:,}, is spent. Raise it, or use prompts "
    "whose answers differ more: prompts.prefer informative draws those first",
    "pool": "no prompts are left to draw. Add more, or lower sampling.until_pairs",
    "length": "all of them are too long to be answered. Raise sampling.max_model_len",
}


@dataclass(frozen=True)
class PairGoal:
    """The target number of `pairs`, within `budget_tokens` sampled tokens. per_draw: most prompts
    per draw. tokens_per_prompt: most tokens that the answers to one prompt can have."""

    pairs: int
    budget_tokens: int
    per_draw: int
    tokens_per_prompt: int


@dataclass(frozen=True)
class DrawProgress:
    """Totals over the draws of a round: prompts, tokens of their answers, pairs.

    used_up: whether the last draw found fewer prompts than it asked for.
    """

    prompts: int = 0
    tokens: int = 0
    pairs: int = 0
    used_up: bool = False


def stop_reason(goal: PairGoal, so_far: DrawProgress) -> EndedBy | None:
    """Why no more prompts are drawn, or None to draw more.

    Example:
        >>> goal = PairGoal(pairs=10, budget_tokens=1000, per_draw=8, tokens_per_prompt=50)
        >>> stop_reason(goal, DrawProgress(prompts=8, tokens=1000, pairs=4))
        'budget'
    """
    if so_far.pairs >= goal.pairs:
        return "pairs"
    if so_far.tokens >= goal.budget_tokens:
        return "budget"
    if so_far.used_up:
        return "pool"
    return "length" if so_far.prompts and not so_far.tokens else None


def next_draw(goal: PairGoal, so_far: DrawProgress) -> int:
    """Number of prompts of the next draw, at least one.

    Draws what the missing pairs need at the rate of earlier draws, limited by the remaining budget.
    The first draw stays within the budget whatever the length of answers, later ones if answers
    stay as long as before.

    Example:
        >>> goal = PairGoal(pairs=10, budget_tokens=1000, per_draw=8, tokens_per_prompt=50)
        >>> next_draw(goal, DrawProgress())
        8
        >>> next_draw(goal, DrawProgress(prompts=8, tokens=400, pairs=8))
        2
    """
    if not so_far.tokens:
        return max(1, min(goal.per_draw, goal.budget_tokens // goal.tokens_per_prompt))
    wanted = goal.per_draw
    if so_far.pairs:
        missing = goal.pairs - so_far.pairs
        wanted = max(ceil(missing * so_far.prompts / so_far.pairs), ceil(goal.per_draw / _SMALLEST))
    left = goal.budget_tokens - so_far.tokens
    affordable = max(1, left * so_far.prompts // so_far.tokens)
    return min(wanted, affordable, goal.per_draw)


def outcome(goal: PairGoal, so_far: DrawProgress, ended: EndedBy) -> dict[str, object]:
    """The result of the draws, as the ledger records it."""
    return {
        "until_pairs": goal.pairs,
        "budget_tokens": goal.budget_tokens,
        "drawn": so_far.prompts,
        "sampled_tokens": so_far.tokens,
        "pairs": so_far.pairs,
        "ended_by": ended,
    }


def shortfall_message(result: Mapping[str, object]) -> str | None:
    """Why a round has fewer pairs than its target, or None.

    result: the round's `outcome`; empty for a round without target.
    """
    why = _WHY.get(str(result.get("ended_by")))
    return why and (
        f"{result['pairs']:,} of {result['until_pairs']:,} pairs after {result['drawn']:,} "
        f"prompts: {why.format(**result)}."
    )
