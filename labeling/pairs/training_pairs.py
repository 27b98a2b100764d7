"""Which preferences of which rounds a round trains on: a pure selection of pair ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Literal

from dpo_core.hashing import derive_seed

Kind = Literal["latest", "earlier", "imported"]

TWICE = "also_in_a_later_round"
NOT_DRAWN = "not_drawn_by_mix"


@dataclass(frozen=True)
class RoundPairs:
    """The pairs of one round's preferences that are currently valid."""

    round: int
    kind: Kind
    pair_ids: Sequence[str]


@dataclass(frozen=True)
class TrainingPairs:
    """kept: round → ids of its pairs to train on. dropped: reason → number of the others."""

    kept: Mapping[int, frozenset[str]]
    dropped: Mapping[str, int]


def select_training_pairs(
    rounds: Sequence[RoundPairs], weights: Mapping[Kind, float] | None, seed: int
) -> TrainingPairs:
    """All pairs of `rounds`, oldest first, or a weighted mix of the kinds.

    A pair in several rounds is used once, from the last of them. With weights, all n pairs of the
    latest round are used, and n · weight / weight of the latest of every other kind, picked by
    hash. Shortfalls are not filled.

    Example:
        >>> rounds = [RoundPairs(1, "earlier", ["p", "q"]), RoundPairs(2, "latest", ["q"])]
        >>> select_training_pairs(rounds, None, seed=0).dropped
        {'also_in_a_later_round': 1}
    """
    last = {pair: source.round for source in rounds for pair in source.pair_ids}
    twice = sum(len(source.pair_ids) for source in rounds) - len(last)
    kind_of = {source.round: source.kind for source in rounds}
    by_kind: dict[Kind, list[str]] = {"latest": [], "earlier": [], "imported": []}
    for pair, number in last.items():
        by_kind[kind_of[number]].append(pair)
    kept: dict[int, set[str]] = {number: set() for number in kind_of}
    for kind, pairs in by_kind.items():
        for pair in _draw(pairs, _size(kind, by_kind, weights), seed):
            kept[last[pair]].add(pair)
    dropped = {TWICE: twice, NOT_DRAWN: len(last) - sum(map(len, kept.values()))}
    return TrainingPairs(
        {number: frozenset(pairs) for number, pairs in kept.items()},
        {why: count for why, count in dropped.items() if count},
    )


def _size(
    kind: Kind, by_kind: Mapping[Kind, Sequence[str]], weights: Mapping[Kind, float] | None
) -> int:
    """How many pairs of a kind to use, if there are as many."""
    if weights is None:
        return len(by_kind[kind])
    return floor(len(by_kind["latest"]) * weights[kind] / weights["latest"] + 0.5)


def _draw(pairs: Sequence[str], size: int, seed: int) -> Sequence[str]:
    if size >= len(pairs):
        return pairs
    return sorted(pairs, key=lambda pair: derive_seed(seed, pair))[:size]
