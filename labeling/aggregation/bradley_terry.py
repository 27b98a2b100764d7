"""Put the completions of a prompt on one scale when its pairs are connected.

Bradley and Terry 1952: completion i has a strength P(i) > 0, and i beats j with probability
P(i) / (P(i) + P(j)).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_ITERATIONS = 10_000
"""choix raises beyond it; components of a hundred completions take tens."""

_DIGITS = 6
"""Later digits depend on the order of floating-point sums, given choix's tolerance."""


@dataclass(frozen=True)
class PairOutcome:
    """A pair of completion ids; `p_a`: probability, strictly between 0 and 1, that a is better,
    from `weight` comparisons."""

    pair_id: str
    a: str
    b: str
    p_a: float
    weight: float


def fit_bradley_terry(comparisons: Iterable[PairOutcome]) -> dict[str, float]:
    """pair_id → P(a) / (P(a) + P(b)), for pairs connected to another pair.

    Each connected component of the comparison graph is fitted on its own. The strengths maximise

        Σ n·p·log P(a)/(P(a) + P(b)) + n·(1 − p)·log P(b)/(P(a) + P(b))

    over its pairs, with n the `weight` and p the `p_a` of a pair. No prior is needed: since
    0 < p < 1, every completion wins and loses, so the maximum exists. A component without cycles
    reproduces each p; in cycles, pairs correct each other.

    Example:
        >>> outcomes = [PairOutcome("p", "x", "y", 0.8, 2), PairOutcome("q", "y", "z", 0.5, 2)]
        >>> fit_bradley_terry(outcomes)
        {'p': 0.8, 'q': 0.5}
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
    logits = {c.pair_id: log_strengths[place[c.a]] - log_strengths[place[c.b]] for c in part}
    return {pair_id: round(float(1 / (1 + np.exp(-x))), _DIGITS) for pair_id, x in logits.items()}


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
