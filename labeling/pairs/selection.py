"""Select the pairs of a prompt's completions to compare: pure functions of completions and scores.

Empty answers and identical texts never pair, the scores of a pair differ by more than `min_margin`,
and a hash breaks ties, so that the order of sampling does not matter.
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
    """A pair as stored; `rule`: the strategy that selected it, `margin`: score difference."""

    pair_id: str
    prompt_id: str
    a: str
    b: str
    rule: str
    margin: float | None


@dataclass(frozen=True)
class Selection:
    """The pairs of one prompt; dropped: reason → number of pairs that were not made.

    A strategy with one pair per prompt gives one pair or counts one as dropped. With
    all_over_margin, every two completions of the prompt are a pair or counted.
    """

    pairs: tuple[SelectedPair, ...]
    dropped: Mapping[str, int]


Scores = Mapping[str, float | None]
"""completion_id → score; None for an abstention, empty when no judge scores."""

Strategy = Callable[[Sequence[Completion], Scores, PairsConfig, int], SelectedPair | str]
"""Picks one pair of one prompt's completions, or returns why there is none, in one word."""


def select_pairs(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> Selection:
    """Select the pairs of one prompt's completions by `config.strategy`.

    Args:
        completions: of one prompt.
        scores: completion_id → score; None for an abstention, empty when no judge scores.
        seed: decides ties and random picks, with the completions' ids.
    """
    if config.strategy == "all_over_margin":
        return all_over_margin(completions, scores, config, seed)
    pair = _one_pair(completions, scores, config, seed)
    return Selection((), {pair: 1}) if isinstance(pair, str) else Selection((pair,), {})


def _one_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    sampled = len(completions)
    completions = [c for c in completions if c.text.strip()]
    if len(completions) < min(2, sampled):
        return "empty_answer"
    if config.truncated in ("avoid", "reject"):
        completions = _drop_truncated(completions, scores, config)
        if len(completions) < 2:
            return "truncated"
    chosen = ONE_PER_PROMPT[config.strategy](completions, scores, config, seed)
    if isinstance(chosen, str) or config.truncated in ("keep", "reject"):
        return chosen
    cut = {c.completion_id for c in completions if not c.finished}
    return "truncated" if {chosen.a, chosen.b} & cut else chosen


def _drop_truncated(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig
) -> list[Completion]:
    """Without truncated answers that may not pair; with `reject`, those no finished one beats."""
    finished = [c for c in completions if c.finished]
    if config.truncated == "avoid" or not finished:
        return finished
    if config.strategy == "random":
        return list(completions)
    best = max((score_of(c, scores) for c in with_scores(finished, scores)), default=-inf)
    cut = (c for c in with_scores(completions, scores) if not c.finished)
    return [*finished, *(c for c in cut if score_of(c, scores) < best)]


def best_worst(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against the worst."""
    ranked = _best_and_rivals(completions, scores, seed)
    return ranked if isinstance(ranked, str) else _pair(ranked[0], ranked[1][0], scores, config)


def best_second(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against the second best: the hardest comparison."""
    ranked = _best_and_rivals(completions, scores, seed)
    return ranked if isinstance(ranked, str) else _pair(ranked[0], ranked[1][-1], scores, config)


def best_random(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The best score against one of the others, picked by hash."""
    ranked = _best_and_rivals(completions, scores, seed)
    if isinstance(ranked, str):
        return ranked
    best, rivals = ranked
    # Another hash than the tie-breaker, which would favour answers with the best score.
    rival = min(rivals, key=lambda c: derive_seed(seed, "rival", c.completion_id))
    return _pair(best, rival, scores, config)


def length_aware(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """The pair with the largest length-adjusted margin.

    The adjusted margin is s(better) − s(worse) − margin_per_token · max(0, l(better) − l(worse))
    with scores s and lengths l in tokens: a longer answer must be better by more. It must exceed
    `min_margin`; the stored margin is the plain score difference.
    """
    known = with_scores(completions, scores)
    if len(known) < 2:
        return "no_score"
    pairs = [(one, other) for one, other in combinations(known, 2) if one.text != other.text]
    if not pairs:
        return "identical_texts"
    if config.truncated == "reject":
        pairs = [pair for pair in pairs if not _cut_would_win(*pair, scores)]
        if not pairs:
            return "truncated"

    def adjusted_margin(pair: tuple[Completion, Completion]) -> float:
        worse, better = sorted(pair, key=lambda c: score_of(c, scores))
        longer = max(0, better.tokens - worse.tokens)
        return _margin(worse, better, scores) - config.margin_per_token * longer

    best = max(pairs, key=lambda pair: (adjusted_margin(pair), derive_seed(seed, _pair_id(*pair))))
    if adjusted_margin(best) <= config.min_margin:
        return "margin_too_small"
    return make_pair(*best, "length_aware", _margin(*best, scores))


def random_pair(
    completions: Sequence[Completion], scores: Scores, config: PairsConfig, seed: int
) -> SelectedPair | str:
    """Two completions with different texts, picked by hash."""
    shuffled = sorted(completions, key=lambda c: derive_seed(seed, c.completion_id))
    may_win = [c for c in shuffled if c.finished or config.truncated != "reject"]
    first = may_win[0]
    for second in shuffled:
        if second.text != first.text:
            scored = len(with_scores((first, second), scores)) == 2
            margin = _margin(first, second, scores) if scored else None
            return make_pair(first, second, "random", margin)
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

    Of several pairs with the same two texts, one is kept.
    """
    dropped: Counter[str] = Counter()
    fit: list[tuple[SelectedPair, frozenset[str]]] = []
    for one, other in combinations(completions, 2):
        why_not = _why_not(one, other, scores, config)
        if why_not is None:
            pair = make_pair(one, other, "all_over_margin", _margin(one, other, scores))
            fit.append((pair, frozenset((one.text, other.text))))
        else:
            dropped[why_not] += 1
    return select_widest(fit, dropped, config, seed)


def select_widest(
    fit: Sequence[tuple[SelectedPair, frozenset[str]]],
    dropped: Counter[str],
    config: PairsConfig,
    seed: int,
) -> Selection:
    """The widest `max_per_prompt` of the eligible pairs, each two texts once.

    Args:
        fit: (pair, its two texts) of every eligible pair.
        dropped: counts by reason; the pairs left out here are added.
    """
    ranked = sorted(
        fit, key=lambda entry: (-(entry[0].margin or 0.0), derive_seed(seed, entry[0].pair_id))
    )
    distinct: dict[frozenset[str], SelectedPair] = {}
    for pair, texts in ranked:
        distinct.setdefault(texts, pair)
    pairs = tuple(distinct.values())[: config.max_per_prompt]
    dropped["repeated_texts"] += len(fit) - len(distinct)
    dropped["over_max_per_prompt"] += len(distinct) - len(pairs)
    return Selection(pairs, {why: count for why, count in dropped.items() if count})


def _why_not(one: Completion, other: Completion, scores: Scores, config: PairsConfig) -> str | None:
    if config.truncated in ("drop", "avoid") and not (one.finished and other.finished):
        return "truncated"
    if config.truncated == "reject" and _cut_would_win(one, other, scores):
        return "truncated"
    if not (one.text.strip() and other.text.strip()):
        return "empty_answer"
    if one.text == other.text:
        return "identical_texts"
    if len(with_scores((one, other), scores)) < 2:
        return "no_score"
    return None if _margin(one, other, scores) > config.min_margin else "margin_too_small"


def _cut_would_win(one: Completion, other: Completion, scores: Scores) -> bool:
    """Whether a truncated answer would win, or both are truncated; unscored ones never win."""
    if one.finished and other.finished:
        return False
    if not (one.finished or other.finished):
        return True
    finished, cut = (one, other) if one.finished else (other, one)
    scored = len(with_scores((one, other), scores)) == 2
    return scored and score_of(cut, scores) > score_of(finished, scores)


def _best_and_rivals(
    completions: Sequence[Completion], scores: Scores, seed: int
) -> tuple[Completion, list[Completion]] | str:
    """(best, those with other texts from worst to best), or why there are none."""
    known = with_scores(completions, scores)
    if len(known) < 2:
        return "no_score"
    *others, best = sort_by_score(known, scores, seed)
    rivals = [other for other in others if other.text != best.text]
    return (best, rivals) if rivals else "identical_texts"


def sort_by_score(completions: Sequence[Completion], scores: Scores, seed: int) -> list[Completion]:
    """Completions from the lowest score to the highest; a hash breaks ties."""
    return sorted(
        completions, key=lambda c: (score_of(c, scores), derive_seed(seed, c.completion_id))
    )


def _pair(
    best: Completion, rival: Completion, scores: Scores, config: PairsConfig
) -> SelectedPair | str:
    margin = _margin(best, rival, scores)
    if margin <= config.min_margin:
        return "margin_too_small"
    return make_pair(best, rival, config.strategy, margin)


def with_scores(completions: Sequence[Completion], scores: Scores) -> list[Completion]:
    return [c for c in completions if scores.get(c.completion_id) is not None]


def _margin(one: Completion, other: Completion, scores: Scores) -> float:
    return abs(score_of(one, scores) - score_of(other, scores))


def score_of(completion: Completion, scores: Scores) -> float:
    score = scores[completion.completion_id]
    assert score is not None, "called only for completions with scores"
    return score


def _pair_id(one: Completion, other: Completion) -> str:
    return pair_id(one.completion_id, other.completion_id)


def make_pair(one: Completion, other: Completion, rule: str, margin: float | None) -> SelectedPair:
    a, b = order_pair(one.completion_id, other.completion_id)
    return SelectedPair(_pair_id(one, other), one.prompt.prompt_id, a, b, rule, margin)
