"""Pair an answer of the policy with a worse one of another model: pure functions.

Delta learning (Geng et al. 2025, arXiv:2507.06187): the difference between the two answers of a
pair is what teaches, so the rejected one may come from a weaker model. The judge must agree: an
answer scored at least as high as the policy's is never rejected for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion
from labeling.pairs.config import PairsConfig
from labeling.pairs.selection import (
    Scores,
    SelectedPair,
    Selection,
    make_pair,
    score_of,
    select_widest,
    sort_by_score,
    with_scores,
)

NOT_WORSE = "rejected_not_worse"
"""Why there is no pair or no preference: the rejected answer would be at least as good."""

_OFTEN = 0.5
"""Share of pairs dropped as NOT_WORSE above which there is a notice."""


def select_against(
    own: Sequence[Completion],
    others: Sequence[Completion],
    scores: Scores,
    config: PairsConfig,
    seed: int,
) -> Selection:
    """The pairs of one prompt, with `own` answers chosen and those of `others` rejected.

    The strategies work as for one policy: the best own answer against the worst of the others, the
    best of them, or one by hash; all_over_margin: every combination.
    """
    if config.strategy == "all_over_margin":
        return _all_over_margin(own, others, scores, config, seed)
    pair = _one_pair(own, others, scores, config, seed)
    return Selection((), {pair: 1}) if isinstance(pair, str) else Selection((pair,), {})


def notice(dropped: Mapping[str, int], came_in: int, name: str) -> str | None:
    """A notice when most answers of `name` are at least as good as the policy's, or None."""
    count = dropped.get(NOT_WORSE, 0)
    if count <= _OFTEN * came_in:
        return None
    return (
        f"{count} of {came_in} pairs are dropped because the judge scores the answers of {name} at "
        "least as high as the policy's: set pairs.rejected_from to a weaker model"
    )


def _one_pair(
    own: Sequence[Completion],
    others: Sequence[Completion],
    scores: Scores,
    config: PairsConfig,
    seed: int,
) -> SelectedPair | str:
    if not (own and others):
        return "unanswered"
    own, others = ([c for c in side if c.text.strip()] for side in (own, others))
    if not (own and others):
        return "empty_answer"
    own, others = _eligible(own, others, config)
    if not (own and others):
        return "truncated"
    own, others = with_scores(own, scores), with_scores(others, scores)
    if not (own and others):
        return "no_score"
    pairs = [(one, other) for one in own for other in others if one.text != other.text]
    if not pairs:
        return "identical_texts"
    better, worse = _choose(pairs, scores, config, seed)
    why_not = _why_not(better, worse, scores, config)
    return why_not or make_pair(better, worse, config.strategy, _margin(better, worse, scores))


def _choose(
    pairs: Sequence[tuple[Completion, Completion]], scores: Scores, config: PairsConfig, seed: int
) -> tuple[Completion, Completion]:
    """(policy's answer, other's answer) that the strategy picks from pairs of different texts."""
    if config.strategy == "length_aware":
        return max(
            pairs,
            key=lambda pair: (
                _adjusted_margin(pair[0], pair[1], scores, config),
                derive_seed(seed, *(c.completion_id for c in pair)),
            ),
        )
    own = {one.completion_id: one for one, _ in pairs}
    best = sort_by_score(list(own.values()), scores, seed)[-1]
    rivals = sort_by_score([other for one, other in pairs if one is best], scores, seed)
    if config.strategy == "best_random":
        return best, min(rivals, key=lambda c: derive_seed(seed, "rival", c.completion_id))
    return best, rivals[-1 if config.strategy == "best_second" else 0]


def _all_over_margin(
    own: Sequence[Completion],
    others: Sequence[Completion],
    scores: Scores,
    config: PairsConfig,
    seed: int,
) -> Selection:
    dropped: Counter[str] = Counter()
    fit: list[tuple[SelectedPair, frozenset[str]]] = []
    for one in own:
        for other in others:
            why_not = _unfit(one, other, scores, config) or _why_not(one, other, scores, config)
            if why_not:
                dropped[why_not] += 1
            else:
                pair = make_pair(one, other, config.strategy, _margin(one, other, scores))
                fit.append((pair, frozenset((one.text, other.text))))
    return select_widest(fit, dropped, config, seed)


def _unfit(one: Completion, other: Completion, scores: Scores, config: PairsConfig) -> str | None:
    """Why the two cannot be compared, or None."""
    if not all(_eligible([one], [other], config)) or _cut_and_dropped(one, other, config):
        return "truncated"
    if not (one.text.strip() and other.text.strip()):
        return "empty_answer"
    if one.text == other.text:
        return "identical_texts"
    return "no_score" if len(with_scores((one, other), scores)) < 2 else None


def _eligible(
    own: Sequence[Completion], others: Sequence[Completion], config: PairsConfig
) -> tuple[list[Completion], list[Completion]]:
    """Both sides without truncated answers that may not pair; `reject` bars them from winning."""
    rejecting, avoiding = config.truncated == "reject", config.truncated == "avoid"
    return (
        [c for c in own if c.finished or not (rejecting or avoiding)],
        [c for c in others if c.finished or not avoiding],
    )


def _cut_and_dropped(one: Completion, other: Completion, config: PairsConfig) -> bool:
    return config.truncated == "drop" and not (one.finished and other.finished)


def _why_not(
    better: Completion, worse: Completion, scores: Scores, config: PairsConfig
) -> str | None:
    if _cut_and_dropped(better, worse, config):
        return "truncated"
    if _margin(better, worse, scores) <= 0:
        return NOT_WORSE
    too_small = _adjusted_margin(better, worse, scores, config) <= config.min_margin
    return "margin_too_small" if too_small else None


def _margin(better: Completion, worse: Completion, scores: Scores) -> float:
    return score_of(better, scores) - score_of(worse, scores)


def _adjusted_margin(
    better: Completion, worse: Completion, scores: Scores, config: PairsConfig
) -> float:
    """The length-adjusted margin; see selection.length_aware."""
    longer = max(0, better.tokens - worse.tokens)
    return _margin(better, worse, scores) - config.margin_per_token * longer
