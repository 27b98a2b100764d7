"""Aggregate votes to preferences: the preferred side of each pair, and its probability."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labeling.aggregation.bradley_terry import PairOutcome, fit_bradley_terry
from labeling.aggregation.config import AggregationConfig
from labeling.aggregation.dawid_skene import count_overlap, posteriors
from labeling.aggregation.votes import Ballot, Ballots, share_of_a, undecided_reason, vote_shares

Method = Literal["majority", "dawid_skene"]
Targets = Literal["soft", "hard"]

SUREST = 0.98
"""Soft targets are clipped to [1 − SUREST, SUREST]."""


@dataclass(frozen=True)
class ComparedPair:
    """A pair: the ids of its prompt and completions."""

    pair_id: str
    prompt_id: str
    a: str
    b: str


@dataclass(frozen=True)
class Aggregate:
    """The preferred side `better`, the probability `p_chosen` that it is better, and `agreement`,
    the weighted share of votes that name it."""

    better: Literal["a", "b"]
    p_chosen: float
    agreement: float


@dataclass(frozen=True)
class Aggregation:
    """How a round was aggregated; by_pair: the preference, or why there is none in one word."""

    method: Method
    targets: Targets
    by_pair: Mapping[str, Aggregate | str]


def aggregate(
    pairs: Sequence[ComparedPair], ballots: Ballots, config: AggregationConfig, *, takes_soft: bool
) -> Aggregation:
    """Aggregate the votes on each pair.

    A pair with a majority for tie or both bad, with even sides, or without votes has no preference.

    Args:
        takes_soft: whether the loss takes soft labels.
    """
    method = _method(ballots, config)
    targets = _targets(ballots, config, takes_soft)
    shares = posteriors(ballots) if method == "dawid_skene" else vote_shares(ballots)
    p_a = {pair_id: share_of_a(share) for pair_id, share in shares.items()}
    if targets == "soft":
        p_a = _soft(pairs, ballots, p_a, smooth=method == "majority")

    def aggregate_pair(pair: ComparedPair) -> Aggregate | str:
        ballot = ballots.get(pair.pair_id, Ballot())
        if not ballot.votes:
            return ballot.why_silent
        why = undecided_reason(shares[pair.pair_id])
        return why or _preference(ballot, p_a[pair.pair_id], targets)

    return Aggregation(method, targets, {pair.pair_id: aggregate_pair(pair) for pair in pairs})


def drop_winners(
    aggregation: Aggregation, pairs: Sequence[ComparedPair], losers: Collection[str], why: str
) -> Aggregation:
    """Drop preferences whose chosen answer must not win.

    Args:
        losers: ids of answers that may be rejected but never chosen.
        why: reason that the dropped preferences are counted under.
    """

    def check(pair: ComparedPair) -> Aggregate | str:
        preference = aggregation.by_pair[pair.pair_id]
        if isinstance(preference, str):
            return preference
        return why if (pair.a if preference.better == "a" else pair.b) in losers else preference

    return replace(aggregation, by_pair={pair.pair_id: check(pair) for pair in pairs})


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
    """pair_id → probability that a is better, from the pair alone or from its prompt's scale.

    Alone: (k + ½)/(n + 1) with k of n votes for a, where ties and votes for neither count half; or
    the posterior. On the scale a pair counts as n + 1 comparisons.
    """
    by_prompt: dict[str, list[PairOutcome]] = defaultdict(list)
    soft: dict[str, float] = {}
    for pair in pairs:
        if pair.pair_id not in p_a:
            continue
        n = ballots[pair.pair_id].weight
        alone = (n * p_a[pair.pair_id] + 0.5) / (n + 1) if smooth else p_a[pair.pair_id]
        soft[pair.pair_id] = _clip(alone)
        comparison = PairOutcome(pair.pair_id, pair.a, pair.b, soft[pair.pair_id], n + 1)
        by_prompt[pair.prompt_id].append(comparison)
    for comparisons in by_prompt.values():
        soft |= {i: _clip(p) for i, p in fit_bradley_terry(comparisons).items()}
    return soft


def _clip(p: float) -> float:
    return min(max(p, 1 - SUREST), SUREST)


def _preference(ballot: Ballot, p_a: float, targets: Targets) -> Aggregate | str:
    if p_a == 0.5:
        return "tie"  # its own votes favour a side, but not combined with those of other pairs
    better: Literal["a", "b"] = "a" if p_a > 0.5 else "b"
    agreeing = sum(vote.weight for vote in ballot.votes if vote.verdict == better)
    p_chosen = max(p_a, 1 - p_a) if targets == "soft" else 1.0
    return Aggregate(better, p_chosen, agreeing / ballot.weight)
