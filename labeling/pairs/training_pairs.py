"""Which preferences of which rounds a round trains on: a pure choice among pair ids."""

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
    """The pairs of one round's preferences that are valid now."""

    round: int
    kind: Kind
    pair_ids: Sequence[str]


@dataclass(frozen=True)
class TrainingPairs:
    """round → ids of its pairs that are trained on, and how many of the others are not, by
    reason."""

    kept: Mapping[int, frozenset[str]]
    dropped: Mapping[str, int]


def select_training_pairs(
    rounds: Sequence[RoundPairs], weights: Mapping[Kind, float] | None, seed: int
) -> TrainingPairs:
    """All pairs of `rounds`, oldest first, or as many of each kind as their weights allow.

    A pair that several rounds have is used once, as the last of them has it. With weights the
    latest round's n pairs are used whole and n · weight / weight of the latest of every other kind,
    picked by hash; where a kind has fewer, all of them are, and nothing takes their place.
    """
    last = {pair: each.round for each in rounds for pair in each.pair_ids}
    twice = sum(len(each.pair_ids) for each in rounds) - len(last)
    kind_of = {each.round: each.kind for each in rounds}
    by_kind: dict[Kind, list[str]] = {"latest": [], "earlier": [], "imported": []}
    for pair, number in last.items():
        by_kind[kind_of[number]].append(pair)
    kept: dict[int, set[str]] = {number: set() for number in kind_of}
    for kind, pairs in by_kind.items():
        for pair in _drawn(pairs, _size(kind, by_kind, weights), seed):
            kept[last[pair]].add(pair)
    dropped = {TWICE: twice, NOT_DRAWN: len(last) - sum(map(len, kept.values()))}
    return TrainingPairs(
        {number: frozenset(pairs) for number, pairs in kept.items()},
        {why: count for why, count in dropped.items() if count},
    )


def _size(
    kind: Kind, by_kind: Mapping[Kind, Sequence[str]], weights: Mapping[Kind, float] | None
) -> int:
    """How many pairs of a kind are used if it has them."""
    if weights is None:
        return len(by_kind[kind])
    return floor(len(by_kind["latest"]) * weights[kind] / weights["latest"] + 0.5)


def _drawn(pairs: Sequence[str], size: int, seed: int) -> Sequence[str]:
    if size >= len(pairs):
        return pairs
    return sorted(pairs, key=lambda pair: derive_seed(seed, pair))[:size]
