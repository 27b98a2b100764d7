"""Which two completions of a prompt are compared: pure functions of completions and scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion, ordered, pair_id
from labeling.pairs.config import PairsConfig


@dataclass(frozen=True)
class Selected:
    """A pair as it is stored: `rule` says why these two, `margin` is their score difference."""

    pair_id: str
    prompt_id: str
    a: str
    b: str
    rule: str
    margin: float | None


Scores = Mapping[str, float | None]
"""completion_id → score; None for an abstention."""

Strategy = Callable[[Sequence[Completion], Scores, PairsConfig, int], Selected | str]
"""Picks one pair among the completions of one prompt, or says in a word why there is none."""


def select_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selected | str:
    """The pair of one prompt's completions that is worth comparing, or the reason for none."""
    if config.truncated == "avoid":
        completions = [c for c in completions if c.finished]
        if len(completions) < 2:
            return "truncated"
    chosen = STRATEGIES[config.strategy](completions, scores, config, seed)
    if isinstance(chosen, str) or config.truncated == "keep":
        return chosen
    cut = {c.completion_id for c in completions if not c.finished}
    return "truncated" if {chosen.a, chosen.b} & cut else chosen


def best_worst(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selected | str:
    """The best against the worst score, when they differ by more than `min_margin`."""
    scored = [(value, c) for c in completions if (value := scores[c.completion_id]) is not None]
    if len(scored) < 2:
        return "no_score"
    # Among equals the hash decides, so that the order of sampling favours nobody.
    scored.sort(key=lambda item: (item[0], derive_seed(seed, item[1].completion_id)))
    (low, worst), (high, best) = scored[0], scored[-1]
    if worst.text == best.text:
        return "identical_texts"
    if high - low <= config.min_margin:
        return "margin_too_small"
    return _selected(best, worst, "best_worst", high - low)


def random_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selected | str:
    """Two completions with different texts, picked by hash."""
    shuffled = sorted(completions, key=lambda c: derive_seed(seed, c.completion_id))
    first = shuffled[0]
    for second in shuffled[1:]:
        if second.text != first.text:
            return _selected(first, second, "random", None)
    return "identical_texts"


STRATEGIES: Mapping[str, Strategy] = {"best_worst": best_worst, "random": random_pair}


def _selected(first: Completion, second: Completion, rule: str, margin: float | None) -> Selected:
    a, b = ordered(first.completion_id, second.completion_id)
    identity = pair_id(first.completion_id, second.completion_id)
    return Selected(identity, first.prompt.prompt_id, a, b, rule, margin)
