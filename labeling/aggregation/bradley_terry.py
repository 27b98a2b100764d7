"""Completions of one prompt on one scale, where the pairs between them hang together.

Bradley and Terry 1952: completion i has a strength P(i) > 0, and i is better than j with
probability P(i) / (P(i) + P(j)).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PairOutcome:
    """A pair of completions by id: `p_a` the probability that a is the better one, from `weight`
    comparisons. `p_a` lies strictly between 0 and 1."""

    pair_id: str
    a: str
    b: str
    p_a: float
    weight: float


def fit_bradley_terry(comparisons: Iterable[PairOutcome]) -> dict[str, float]:
    """pair_id → P(a) / (P(a) + P(b)), for pairs that another one is connected to.

    Each connected part of the graph of comparisons is fitted by itself: the strengths maximise

        Σ n·p·log P(a)/(P(a) + P(b)) + n·(1 − p)·log P(b)/(P(a) + P(b))

    over its pairs, n their `weight` and p their `p_a`. No prior is needed: as 0 < p < 1, everyone
    wins and loses, so that the maximum exists. In a part without cycles it reproduces each p;
    in cycles, pairs correct each other.
    """
    return {
        pair_id: probability
        for part in _connected_parts(list(comparisons))
        if len(part) > 1
        for pair_id, probability in _fitted(part).items()
    }


def _fitted(part: Sequence[PairOutcome]) -> dict[str, float]:
    import choix
    import numpy as np

    ids = sorted({end for c in part for end in (c.a, c.b)})
    place = {completion_id: index for index, completion_id in enumerate(ids)}
    wins = np.zeros((len(ids), len(ids)))
    for c in part:
        wins[place[c.a], place[c.b]] += c.weight * c.p_a
        wins[place[c.b], place[c.a]] += c.weight * (1 - c.p_a)
    log_strengths = choix.ilsr_pairwise_dense(wins, max_iter=_ITERATIONS)
    lead = {c.pair_id: log_strengths[place[c.a]] - log_strengths[place[c.b]] for c in part}
    return {pair_id: round(float(1 / (1 + np.exp(-x))), _DIGITS) for pair_id, x in lead.items()}


_ITERATIONS = 10_000
"""choix raises above it; parts of a hundred completions take tens."""

_DIGITS = 6
"""Where choix stops, later ones depend on the order of floating-point sums."""


def _connected_parts(comparisons: Sequence[PairOutcome]) -> Iterator[list[PairOutcome]]:
    touching: Mapping[str, list[PairOutcome]] = defaultdict(list)
    for comparison in comparisons:
        touching[comparison.a].append(comparison)
        touching[comparison.b].append(comparison)
    seen: set[str] = set()
    for start in touching:
        if start in seen:
            continue
        part: dict[str, PairOutcome] = {}
        reached = [start]
        while reached:
            completion_id = reached.pop()
            if completion_id not in seen:
                seen.add(completion_id)
                part.update({c.pair_id: c for c in touching[completion_id]})
                reached += [end for c in touching[completion_id] for end in (c.a, c.b)]
        yield list(part.values())
