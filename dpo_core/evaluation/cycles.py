"""Circles of policies in which each beats the next: then no scale orders them.

P policies.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.ratings import Match, by_name
from dpo_core.evaluation.statistics import win_rate

WinRates = Mapping[tuple[Hashable, Hashable], Interval]
"""(first, second) → win rate of the first; each pair of policies that met stands once."""


@dataclass(frozen=True)
class Cycle:
    """`policies` (3, 2, 1): 3 beats 2, 2 beats 1, 1 beats 3. `weakest`: the smallest of these win
    rates; with its interval above ½ the circle is more than chance."""

    policies: tuple[Hashable, ...]
    weakest: Interval

    @property
    def sure(self) -> bool:
        return self.weakest.low > 0.5


def win_rates(
    matches: Iterable[Match],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> dict[tuple[Hashable, Hashable], Interval]:
    """The matrix of win rates, as far as there are matches: one entry for each pair that met.

    Raises ValueError as `dpo_core.evaluation.win_rate` does.
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
            [outcome for outcome, _ in of_pair],
            groups=[group for _, group in of_pair],
            confidence=confidence,
            resamples=resamples,
        )
        for pair, of_pair in met.items()
    }


def find_cycles(rates: WinRates) -> tuple[Cycle, ...]:
    """A shortest circle through every victory that lies on one, shortest and surest first.

    A policy beats another by a win rate above ½. Victories within a strongly connected component
    of that graph (Tarjan 1972) are the ones on circles. There may be exponentially many circles,
    but at most as many of these as there are victories. Each begins with its last policy by name.
    """
    beats: dict[Hashable, dict[Hashable, Interval]] = {}
    for (first, second), rate in rates.items():
        if rate.estimate > 0.5:
            beats.setdefault(first, {})[second] = rate
        elif rate.estimate < 0.5:
            turned = Interval(1 - rate.estimate, 1 - rate.high, 1 - rate.low)
            beats.setdefault(second, {})[first] = turned
    part = _components(beats)
    found = {
        circle
        for winner, losers in beats.items()
        for loser in losers
        if part[winner] == part[loser] and (circle := _shortest(beats, winner, loser))
    }
    made = [Cycle(circle, _weakest(beats, circle)) for circle in found]
    return tuple(
        sorted(made, key=lambda c: (len(c.policies), -c.weakest.estimate, str(c.policies)))
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
    """The circle winner > loser > … > winner with the fewest policies, its last by name first."""
    came_from: dict[Hashable, Hashable] = {loser: winner}
    waiting = deque([loser])
    while winner not in came_from:
        policy = waiting.popleft()
        for beaten in by_name(beats.get(policy, {})):
            if beaten not in came_from:
                came_from[beaten] = policy
                waiting.append(beaten)
    circle = [came_from[winner]]
    while circle[-1] != winner:
        circle.append(came_from[circle[-1]])
    circle.reverse()
    start = circle.index(by_name(circle)[-1])
    return (*circle[start:], *circle[:start])


def _weakest(
    beats: Mapping[Hashable, Mapping[Hashable, Interval]], circle: Sequence[Hashable]
) -> Interval:
    steps = zip(circle, (*circle[1:], circle[0]), strict=True)
    return min((beats[winner][loser] for winner, loser in steps), key=lambda rate: rate.low)
