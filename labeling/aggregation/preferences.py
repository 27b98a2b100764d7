"""From votes to preferences: which side a pair's votes prefer, and how surely."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labeling.aggregation.bradley_terry import PairOutcome, fit_bradley_terry
from labeling.aggregation.config import AggregationConfig
from labeling.aggregation.dawid_skene import count_overlap, posteriors
from labeling.aggregation.votes import (
    Ballot,
    Ballots,
    share_of_a,
    undecided_reason,
    vote_shares,
)

Method = Literal["majority", "dawid_skene"]
Targets = Literal["soft", "hard"]

SUREST = 0.98
"""Soft targets lie within [1 − SUREST, SUREST]: nobody is surer than that."""


@dataclass(frozen=True)
class ComparedPair:
    """A pair by the ids of its prompt and its completions."""

    pair_id: str
    prompt_id: str
    a: str
    b: str


@dataclass(frozen=True)
class Aggregate:
    """`better` is the side the sources prefer, `p_chosen` the probability that it is the better
    one; `agreement` is the share of the votes that name it, each by its weight."""

    better: Literal["a", "b"]
    p_chosen: float
    agreement: float


@dataclass(frozen=True)
class Aggregation:
    """How a round was aggregated, and per pair the preference, or in a word why there is none."""

    method: Method
    targets: Targets
    by_pair: Mapping[str, Aggregate | str]


def aggregate(
    pairs: Sequence[ComparedPair], ballots: Ballots, config: AggregationConfig, *, takes_soft: bool
) -> Aggregation:
    """What the votes on each of `pairs` come to; takes_soft: whether the loss takes soft labels.

    A pair that is mostly held to be tied or both bad, whose sides are even, or that nobody voted
    on is no preference.
    """
    method = _method(ballots, config)
    targets = _targets(ballots, config, takes_soft)
    shares = posteriors(ballots) if method == "dawid_skene" else vote_shares(ballots)
    p_a = {pair_id: share_of_a(found) for pair_id, found in shares.items()}
    if targets == "soft":
        p_a = _soft(pairs, ballots, p_a, smooth=method == "majority")

    def of(pair: ComparedPair) -> Aggregate | str:
        ballot = ballots.get(pair.pair_id, Ballot())
        if not ballot.votes:
            return ballot.why_silent
        why = undecided_reason(shares[pair.pair_id])
        return why or _preference(ballot, p_a[pair.pair_id], targets)

    return Aggregation(method, targets, {pair.pair_id: of(pair) for pair in pairs})


def drop_winners(
    found: Aggregation, pairs: Sequence[ComparedPair], losers: Collection[str], why: str
) -> Aggregation:
    """The same without preferences for an answer that may lose and never wins; losers: ids of such
    answers, `why`: what the dropped preferences are counted as."""

    def of(pair: ComparedPair) -> Aggregate | str:
        made = found.by_pair[pair.pair_id]
        if isinstance(made, str):
            return made
        return why if (pair.a if made.better == "a" else pair.b) in losers else made

    return replace(found, by_pair={pair.pair_id: of(pair) for pair in pairs})


def _method(ballots: Ballots, config: AggregationConfig) -> Method:
    needed = {"auto": config.min_overlap, "dawid_skene": 1}.get(config.method)
    return "dawid_skene" if needed is not None and count_overlap(ballots) >= needed else "majority"


def _targets(ballots: Ballots, config: AggregationConfig, takes_soft: bool) -> Targets:
    if config.targets != "auto":
        return config.targets
    several = any(len({v.source for v in ballot.votes}) > 1 for ballot in ballots.values())
    return "soft" if several and takes_soft else "hard"


def _soft(
    pairs: Iterable[ComparedPair], ballots: Ballots, p_a: Mapping[str, float], *, smooth: bool
) -> dict[str, float]:
    """pair_id → probability that a is better: of the pair by itself, or of its prompt's scale.

    By itself: with k of n votes for a, ties and votes for neither being halves, (k + ½)/(n + 1);
    or the posterior as it is. Every pair counts as n + 1 comparisons on the scale.
    """
    by_prompt: dict[str, list[PairOutcome]] = defaultdict(list)
    found: dict[str, float] = {}
    for pair in pairs:
        if pair.pair_id not in p_a:
            continue
        n = ballots[pair.pair_id].weight
        alone = (n * p_a[pair.pair_id] + 0.5) / (n + 1) if smooth else p_a[pair.pair_id]
        found[pair.pair_id] = _clipped(alone)
        comparison = PairOutcome(pair.pair_id, pair.a, pair.b, found[pair.pair_id], n + 1)
        by_prompt[pair.prompt_id].append(comparison)
    for comparisons in by_prompt.values():
        found |= {i: _clipped(p) for i, p in fit_bradley_terry(comparisons).items()}
    return found


def _clipped(p: float) -> float:
    return min(max(p, 1 - SUREST), SUREST)


def _preference(ballot: Ballot, p_a: float, targets: Targets) -> Aggregate | str:
    if p_a == 0.5:
        return "tie"  # its own votes lean to a side, but not together with those of other pairs
    better: Literal["a", "b"] = "a" if p_a > 0.5 else "b"
    agreeing = sum(vote.weight for vote in ballot.votes if vote.verdict == better)
    p_chosen = max(p_a, 1 - p_a) if targets == "soft" else 1.0
    return Aggregate(better, p_chosen, agreeing / ballot.weight)
