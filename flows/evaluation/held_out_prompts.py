"""Which prompts of the pool are held out: as many as the config says, or as the pool allows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from dpo_core.records import Prompt, Split
from flows.config import CampaignConfig
from generation.prompts import Draw, draw_held_out, read_pool

LEAST, MOST, SHARE = 256, 1024, 8
"""With `auto`: at least so many prompts of a split where it has them, at most so many, and between
these one of so many."""


def draw_of_evaluation(config: CampaignConfig, unfinished: Counter[str] | None = None) -> Draw:
    """The gate and test prompts of a campaign that begins with the pool as it is.

    unfinished: see generation.prompts.read_pool.
    """
    there = Counter[Split]()

    def pool() -> Iterator[Prompt]:
        for prompt in read_pool(config.prompts, unfinished):
            there[prompt.split] += 1
            yield prompt

    evaluation = config.evaluation
    asked: dict[Split, int | str] = {
        "gate": evaluation.gate_prompts,
        "test": evaluation.test_prompts,
    }
    most = {split: count if isinstance(count, int) else MOST for split, count in asked.items()}
    most["gate"] = min(most["gate"], config.gate.at_most_prompts or most["gate"])
    drawn = draw_held_out(pool(), most["gate"], most["test"], config.prompts)
    kept = list[Prompt]()
    for split, count in asked.items():
        found = [prompt for prompt in drawn.prompts if prompt.split == split]
        kept += found[: size_of(count, there[split])]
    left = len(drawn.prompts) - len(kept)
    dropped = Counter(drawn.dropped) + Counter({"not_drawn": left})
    return replace(drawn, prompts=kept, dropped=dict(sorted(dropped.items())))


def size_of(asked: int | str, there: int) -> int:
    """Most prompts that are held out of a split that has so many."""
    return asked if isinstance(asked, int) else min(MOST, max(LEAST, there // SHARE))
