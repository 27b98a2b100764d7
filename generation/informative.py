"""Which prompts a round draws by what earlier rounds showed of them: pure functions.

Where all answers to a prompt were right, or all wrong, nothing was learnt from them. So such a
prompt comes later; one whose answers differed comes first, and a share is kept for prompts that no
round has seen, of which nothing is known.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from dpo_core.records import Prompt
from generation.prompts import Draw, draw_smallest, hash_order

_ROUNDING = 1e-9
"""A quarter of 8 is 2, also where 0.25 · 8 is a little more in binary."""

Kind = Literal["informative", "unseen", "alike"]


@dataclass(frozen=True)
class PromptHistory:
    """What earlier rounds showed of a prompt: how many drew it, and whether its answers differed by
    a margin in the last one that did."""

    draws: int
    informative: bool

    @property
    def kind(self) -> Kind:
        return "informative" if self.informative else "alike"


def collect_histories(
    rounds: Iterable[tuple[Collection[str], Collection[str]]],
) -> dict[str, PromptHistory]:
    """prompt_id → what is known of it; rounds: (the prompts drawn, those of them whose answers
    differed), oldest first."""
    found: dict[str, PromptHistory] = {}
    for drawn, differed in rounds:
        for prompt_id in drawn:
            before = found.get(prompt_id, PromptHistory(0, informative=False))
            found[prompt_id] = PromptHistory(before.draws + 1, prompt_id in differed)
    return found


def draw_informative(
    pool: Iterable[Prompt],
    count: int,
    seed: int,
    seen: Mapping[str, PromptHistory],
    unseen_floor: float,
) -> Draw:
    """`count` distinct train prompts: those whose answers differed, then unseen ones, then those
    whose answers were alike; in each group least used ones first, in an order decided by `seed`.

    At least the share `unseen_floor` of them is unseen while there are any.
    """
    order = hash_order(seed)

    def kind_of(prompt: Prompt) -> Kind:
        found = seen.get(prompt.prompt_id)
        return "unseen" if found is None else found.kind

    def place(prompt: Prompt) -> tuple[int, int]:
        found = seen.get(prompt.prompt_id)
        return 0 if found is None else found.draws, order(prompt.prompt_id)

    def group(prompt: Prompt) -> str:
        return kind_of(prompt) if prompt.split == "train" else prompt.split

    kinds: tuple[Kind, ...] = ("informative", "unseen", "alike")
    draw = draw_smallest(pool, dict.fromkeys(kinds, count), place, group)
    shares = _shares(draw.prompts, kind_of, count, unseen_floor)
    taken = [p for kind in kinds for p in _of(draw.prompts, kind_of, kind)[: shares[kind]]]
    left = len(draw.prompts) - len(taken)
    dropped = {**draw.dropped, "not_drawn": draw.dropped.get("not_drawn", 0) + left}
    return Draw(taken, draw.pool, {why: n for why, n in sorted(dropped.items()) if n})


def _shares(
    prompts: Collection[Prompt], kind_of: Callable[[Prompt], Kind], count: int, floor: float
) -> dict[Kind, int]:
    """How many of each kind are taken."""
    there = [kind_of(prompt) for prompt in prompts]
    kept = min(there.count("unseen"), ceil(floor * count - _ROUNDING))
    informative = min(there.count("informative"), count - kept)
    unseen = min(there.count("unseen"), count - informative)
    return {"informative": informative, "unseen": unseen, "alike": count - informative - unseen}


def _of(prompts: Iterable[Prompt], kind_of: Callable[[Prompt], Kind], kind: Kind) -> list[Prompt]:
    return [prompt for prompt in prompts if kind_of(prompt) == kind]
