"""Draw prompts by how informative they were in earlier rounds: pure functions.

A prompt whose answers were all right or all wrong teaches nothing, so it comes last. Prompts whose
answers differed come first, and a share of each draw is reserved for prompts no round has seen.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from dpo_core.records import Prompt
from generation.prompts import Draw, draw_smallest, hash_order

_ROUNDING = 1e-9
"""Tolerance before ceil: 0.07 · 100 must give 7 and is 7.000000000000001 in binary."""

Kind = Literal["informative", "unseen", "alike"]


@dataclass(frozen=True)
class PromptHistory:
    """A prompt in earlier rounds: how many drew it, and whether its answers differed by a margin in
    the last of them."""

    draws: int
    informative: bool

    @property
    def kind(self) -> Kind:
        return "informative" if self.informative else "alike"


def collect_histories(
    rounds: Iterable[tuple[Collection[str], Collection[str]]],
) -> dict[str, PromptHistory]:
    """prompt_id → its history.

    Args:
        rounds: (ids of the prompts drawn, ids of those whose answers differed), oldest first.

    Example:
        >>> collect_histories([({"p"}, {"p"}), ({"p"}, set())])
        {'p': PromptHistory(draws=2, informative=False)}
    """
    histories: dict[str, PromptHistory] = {}
    for drawn, differed in rounds:
        for prompt_id in drawn:
            before = histories.get(prompt_id, PromptHistory(0, informative=False))
            histories[prompt_id] = PromptHistory(before.draws + 1, prompt_id in differed)
    return histories


def draw_informative(
    pool: Iterable[Prompt],
    count: int,
    seed: int,
    seen: Mapping[str, PromptHistory],
    unseen_floor: float,
) -> Draw:
    """Draw `count` distinct train prompts: informative ones, then unseen ones, then the rest.

    Within each group the least used come first, in an order decided by `seed`. At least the share
    `unseen_floor` of the draw is unseen while there are such prompts.
    """
    order = hash_order(seed)

    def kind_of(prompt: Prompt) -> Kind:
        history = seen.get(prompt.prompt_id)
        return "unseen" if history is None else history.kind

    def place(prompt: Prompt) -> tuple[int, int]:
        history = seen.get(prompt.prompt_id)
        return 0 if history is None else history.draws, order(prompt.prompt_id)

    def group(prompt: Prompt) -> str:
        return kind_of(prompt) if prompt.split == "train" else prompt.split

    kinds: tuple[Kind, ...] = ("informative", "unseen", "alike")
    draw = draw_smallest(pool, dict.fromkeys(kinds, count), place, group)
    shares = _shares(draw.prompts, kind_of, count, unseen_floor)
    taken = [
        prompt
        for kind in kinds
        for prompt in [p for p in draw.prompts if kind_of(p) == kind][: shares[kind]]
    ]
    left = len(draw.prompts) - len(taken)
    dropped = {**draw.dropped, "not_drawn": draw.dropped.get("not_drawn", 0) + left}
    return Draw(taken, draw.pool, {why: n for why, n in sorted(dropped.items()) if n})


def _shares(
    prompts: Collection[Prompt], kind_of: Callable[[Prompt], Kind], count: int, floor: float
) -> dict[Kind, int]:
    """How many prompts of each kind to take."""
    available = Counter(map(kind_of, prompts))
    reserved = min(available["unseen"], ceil(floor * count - _ROUNDING))
    informative = min(available["informative"], count - reserved)
    unseen = min(available["unseen"], count - informative)
    return {"informative": informative, "unseen": unseen, "alike": count - informative - unseen}
