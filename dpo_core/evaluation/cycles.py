"""Cycles of policies in which each beats the next. No rating scale can order such policies."""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.ratings import Match, by_name
from dpo_core.evaluation.statistics import win_rate

WinRates = Mapping[tuple[Hashable, Hashable], Interval]
"""(first, second) → win rate of the first. Each pair of policies that met has one entry."""


@dataclass(frozen=True)
class Cycle:
    """A cycle: policies (3, 2, 1) mean that 3 beats 2, 2 beats 1 and 1 beats 3.

    weakest: the win rate among these with the lowest lower end.
    """

    policies: tuple[Hashable, ...]
    weakest: Interval

    @property
    def sure(self) -> bool:
        """Whether every win rate of the cycle has its whole interval above ½."""
        return self.weakest.low > 0.5


def win_rates(
    matches: Iterable[Match],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> dict[tuple[Hashable, Hashable], Interval]:
    """The win rate of each pair of policies that met.

    Args:
        matches: (first, second, outcome), as for `bradley_terry`.
        groups: the prompt of each match; without groups every match is its own.
        confidence, resamples: as for `win_rate`.

    Returns:
        (first, second) → win rate of the first, the later one by name.

    Raises:
        ValueError: as `win_rate` does.

    Example:
        >>> {pair: rate.estimate for pair, rate in win_rates([(0, 1, 0.0), (1, 0, 1.0)]).items()}
        {(1, 0): 1.0}
    """
    rows = list(matches)
    names = list(range(len(rows))) if groups is None else list(groups)
    order = {p: i for i, p in enumerate(by_name({p for a, b, _ in rows for p in (a, b)}))}
    met: dict[tuple[Hashable, Hashable], list[tuple[float, Hashable]]] = {}
    for (first, second, outcome), group in zip(rows, names, strict=True):
        if order[first] > order[second]:
            met.setdefault((first, second), []).append((outcome, group))
        else:
            met.setdefault((second, first), []).append((1 - outcome, group))
    return {
        pair: win_rate(
            [outcome for outcome, _ in results],
            groups=[group for _, group in results],
            confidence=confidence,
            resamples=resamples,
        )
        for pair, results in met.items()
    }


def find_cycles(rates: WinRates) -> tuple[Cycle, ...]:
    """A shortest cycle through every victory that lies on a cycle.

    A policy beats another with a win rate above ½. Victories within a strongly connected component
    of that graph (Tarjan 1972) are the ones on cycles. There may be exponentially many cycles, but
    at most as many of these as there are victories.

    Args:
        rates: (first, second) → win rate of the first, as `win_rates` returns them.

    Returns:
        Cycles, shortest first, then by the estimate of their weakest win rate. Each begins with its
        last policy by name.
    """
    beats: dict[Hashable, dict[Hashable, Interval]] = {}
    for (first, second), rate in rates.items():
        if rate.estimate > 0.5:
            beats.setdefault(first, {})[second] = rate
        elif rate.estimate < 0.5:
            reverse = Interval(1 - rate.estimate, 1 - rate.high, 1 - rate.low)
            beats.setdefault(second, {})[first] = reverse
    component = _components(beats)
    paths = {
        path
        for winner, losers in beats.items()
        for loser in losers
        if component[winner] == component[loser] and (path := _shortest(beats, winner, loser))
    }
    cycles = [Cycle(path, _weakest(beats, path)) for path in paths]
    return tuple(
        sorted(cycles, key=lambda c: (len(c.policies), -c.weakest.estimate, str(c.policies)))
    )


def _components(beats: Mapping[Hashable, Mapping[Hashable, Interval]]) -> dict[Hashable, int]:
    """Policy → its strongly connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    policies = by_name({*beats, *(loser for losers in beats.values() for loser in losers)})
    place = {policy: index for index, policy in enumerate(policies)}
    edges = [(place[winner], place[loser]) for winner, losers in beats.items() for loser in losers]
    if not edges:
        return {}
    size = len(policies)
    graph = coo_array((np.ones(len(edges)), np.array(edges).T), shape=(size, size))
    _, part = connected_components(graph, directed=True, connection="strong")
    return {policy: int(part[index]) for policy, index in place.items()}


def _shortest(
    beats: Mapping[Hashable, Mapping[Hashable, Interval]], winner: Hashable, loser: Hashable
) -> tuple[Hashable, ...]:
    """The cycle winner > loser > … > winner with the fewest policies, its last by name first."""
    came_from: dict[Hashable, Hashable] = {loser: winner}
    queue = deque([loser])
    while winner not in came_from:
        policy = queue.popleft()
        for beaten in by_name(beats.get(policy, {})):
            if beaten not in came_from:
                came_from[beaten] = policy
                queue.append(beaten)
    cycle = [came_from[winner]]
    while cycle[-1] != winner:
        cycle.append(came_from[cycle[-1]])
    cycle.reverse()
    start = cycle.index(by_name(cycle)[-1])
    return (*cycle[start:], *cycle[:start])


def _weakest(
    beats: Mapping[Hashable, Mapping[Hashable, Interval]], cycle: Sequence[Hashable]
) -> Interval:
    steps = zip(cycle, (*cycle[1:], cycle[0]), strict=True)
    return min((beats[winner][loser] for winner, loser in steps), key=lambda rate: rate.low)
