"""Which completions of a prompt are compared: pure functions of completions and scores.

Answers without text and identical texts never pair, scores within a pair may differ by more than
`min_margin` only, and where scores leave a choice a hash makes it, so that the order of sampling
favours nobody.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion, order_pair, pair_id
from labeling.pairs.config import PairsConfig


@dataclass(frozen=True)
class SelectedPair:
    """A pair as it is stored: `rule` says why these two, `margin` is their score difference."""

    pair_id: str
    prompt_id: str
    a: str
    b: str
    rule: str
    margin: float | None


@dataclass(frozen=True)
class Selection:
    """The pairs of one prompt, and how many were not made by reason.

    With a strategy that makes one pair per prompt, either there is one or one is counted as
    dropped; with all_over_margin each two completions of the prompt are a pair or are counted.
    """

    pairs: tuple[SelectedPair, ...]
    dropped: Mapping[str, int]


Scores = Mapping[str, float | None]
"""completion_id → score; None for an abstention, nothing where no judge scores."""

Strategy = Callable[[Sequence[Completion], Scores, PairsConfig, int], SelectedPair | str]
"""Picks one pair among the completions of one prompt, or says in a word why there is none."""


def select_pairs(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selection:
    """The pairs of one prompt's completions that are worth comparing."""
    if config.strategy == "all_over_margin":
        return all_over_margin(completions, scores, config, seed)
    found = _one_pair(completions, scores, config, seed)
    return Selection((), {found: 1}) if isinstance(found, str) else Selection((found,), {})


def _one_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    sampled = len(completions)
    completions = [c for c in completions if c.text.strip()]
    if len(completions) < min(2, sampled):
        return "empty_answer"
    if config.truncated in ("avoid", "reject"):
        completions = _without_cut(completions, scores, config)
        if len(completions) < 2:
            return "truncated"
    chosen = ONE_PER_PROMPT[config.strategy](completions, scores, config, seed)
    if isinstance(chosen, str) or config.truncated in ("keep", "reject"):
        return chosen
    cut = {c.completion_id for c in completions if not c.finished}
    return "truncated" if {chosen.a, chosen.b} & cut else chosen


def _without_cut(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig
) -> list[Completion]:
    """Without the cut answers that are in no pair: with `reject` all that no finished one beats."""
    finished = [c for c in completions if c.finished]
    if config.truncated == "avoid" or not finished:
        return finished
    if config.strategy == "random":
        return list(completions)
    best = max((score_of(c, scores) for c in scored(finished, scores)), default=-inf)
    cut = (c for c in scored(completions, scores) if not c.finished)
    return [*finished, *(c for c in cut if score_of(c, scores) < best)]


def best_worst(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against the worst."""
    found = _best_and_rivals(completions, scores, seed)
    return found if isinstance(found, str) else _against(found[0], found[1][0], scores, config)


def best_second(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against the second best: the hardest comparison."""
    found = _best_and_rivals(completions, scores, seed)
    return found if isinstance(found, str) else _against(found[0], found[1][-1], scores, config)


def best_random(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against one of the others, picked by hash."""
    found = _best_and_rivals(completions, scores, seed)
    if isinstance(found, str):
        return found
    best, rivals = found
    # Another hash than the one that decides among equals, which would favour the best's equals.
    rival = min(rivals, key=lambda c: derive_seed(seed, "rival", c.completion_id))
    return _against(best, rival, scores, config)


def length_aware(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The pair with the largest margin once length is paid for.

    The margin that counts is s(better) − s(worse) − margin_per_token · max(0, l(better) − l(worse))
    with lengths l in tokens: a longer answer must be better by more, a shorter one need not. It is
    what must exceed `min_margin`; the margin that is stored is the plain score difference.
    """
    known = scored(completions, scores)
    if len(known) < 2:
        return "no_score"
    pairs = [(one, other) for one, other in combinations(known, 2) if one.text != other.text]
    if not pairs:
        return "identical_texts"
    if config.truncated == "reject":
        pairs = [pair for pair in pairs if not _cut_would_win(*pair, scores)]
        if not pairs:
            return "truncated"

    def counted(pair: tuple[Completion, Completion]) -> float:
        worse, better = sorted(pair, key=lambda c: score_of(c, scores))
        longer = max(0, better.tokens - worse.tokens)
        return _margin(worse, better, scores) - config.margin_per_token * longer

    best = max(pairs, key=lambda pair: (counted(pair), derive_seed(seed, _pair_id(*pair))))
    if counted(best) <= config.min_margin:
        return "margin_too_small"
    return selected(*best, "length_aware", _margin(*best, scores))


def random_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """Two completions with different texts, picked by hash."""
    shuffled = sorted(completions, key=lambda c: derive_seed(seed, c.completion_id))
    may_win = [c for c in shuffled if c.finished or config.truncated != "reject"]
    first = may_win[0]
    for second in shuffled:
        if second.text != first.text:
            both = len(scored((first, second), scores)) == 2
            margin = _margin(first, second, scores) if both else None
            return selected(first, second, "random", margin)
    return "identical_texts"


ONE_PER_PROMPT: Mapping[str, Strategy] = {
    "best_worst": best_worst,
    "best_random": best_random,
    "best_second": best_second,
    "length_aware": length_aware,
    "random": random_pair,
}


def all_over_margin(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selection:
    """All pairs whose score difference exceeds `min_margin`, the widest first.

    Where several completions have one text, one of the pairs with the same two texts is kept.
    """
    dropped: Counter[str] = Counter()
    fit: list[tuple[SelectedPair, frozenset[str]]] = []
    for one, other in combinations(completions, 2):
        why_not = _why_not(one, other, scores, config)
        if why_not is None:
            pair = selected(one, other, "all_over_margin", _margin(one, other, scores))
            fit.append((pair, frozenset((one.text, other.text))))
        else:
            dropped[why_not] += 1
    return widest(fit, dropped, config, seed)


def widest(
    fit: Sequence[tuple[SelectedPair, frozenset[str]]],
    dropped: Counter[str],
    config: PairsConfig,
    seed: int,
) -> Selection:
    """The widest of the pairs that fit (pair, its two texts), each two texts once; the others are
    counted in `dropped`."""
    ranked = sorted(
        fit, key=lambda each: (-(each[0].margin or 0.0), derive_seed(seed, each[0].pair_id))
    )
    distinct: dict[frozenset[str], SelectedPair] = {}
    for pair, texts in ranked:
        distinct.setdefault(texts, pair)
    kept = tuple(distinct.values())[: config.max_per_prompt]
    dropped["repeated_texts"] += len(fit) - len(distinct)
    dropped["over_max_per_prompt"] += len(distinct) - len(kept)
    return Selection(kept, {why: count for why, count in dropped.items() if count})


def _why_not(one: Completion, other: Completion, scores: Scores, config: PairsConfig) -> str | None:
    if config.truncated in ("drop", "avoid") and not (one.finished and other.finished):
        return "truncated"
    if config.truncated == "reject" and _cut_would_win(one, other, scores):
        return "truncated"
    if not (one.text.strip() and other.text.strip()):
        return "empty_answer"
    if one.text == other.text:
        return "identical_texts"
    if len(scored((one, other), scores)) < 2:
        return "no_score"
    return None if _margin(one, other, scores) > config.min_margin else "margin_too_small"


def _cut_would_win(one: Completion, other: Completion, scores: Scores) -> bool:
    """Whether one of the two was cut and no finished one beats it; unscored ones beat nobody."""
    if one.finished and other.finished:
        return False
    if not (one.finished or other.finished):
        return True
    finished, cut = (one, other) if one.finished else (other, one)
    both = len(scored((one, other), scores)) == 2
    return both and score_of(cut, scores) > score_of(finished, scores)


def _best_and_rivals(
    completions: Sequence[Completion], scores: Scores, seed: int
) -> tuple[Completion, list[Completion]] | str:
    """(the best, those with other texts from the worst up), or why there are none."""
    known = scored(completions, scores)
    if len(known) < 2:
        return "no_score"
    *others, best = ascending(known, scores, seed)
    rivals = [other for other in others if other.text != best.text]
    return (best, rivals) if rivals else "identical_texts"


def ascending(completions: Sequence[Completion], scores: Scores, seed: int) -> list[Completion]:
    """From the lowest score to the highest; among equals a hash decides."""
    return sorted(
        completions, key=lambda c: (score_of(c, scores), derive_seed(seed, c.completion_id))
    )


def _against(
    best: Completion, rival: Completion, scores: Scores, config: PairsConfig
) -> SelectedPair | str:
    margin = _margin(best, rival, scores)
    if margin <= config.min_margin:
        return "margin_too_small"
    return selected(best, rival, config.strategy, margin)


def scored(completions: Sequence[Completion], scores: Scores) -> list[Completion]:
    return [c for c in completions if scores.get(c.completion_id) is not None]


def _margin(one: Completion, other: Completion, scores: Scores) -> float:
    return abs(score_of(one, scores) - score_of(other, scores))


def score_of(completion: Completion, scores: Scores) -> float:
    found = scores[completion.completion_id]
    assert found is not None, "asked of those with scores alone"
    return found


def _pair_id(one: Completion, other: Completion) -> str:
    return pair_id(one.completion_id, other.completion_id)


def selected(one: Completion, other: Completion, rule: str, margin: float | None) -> SelectedPair:
    a, b = order_pair(one.completion_id, other.completion_id)
    return SelectedPair(_pair_id(one, other), one.prompt.prompt_id, a, b, rule, margin)
