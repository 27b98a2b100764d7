"""Ratings: all policies of a campaign on one scale, from matches between some of them.

P policies without the base, E pairs of policies that met, n groups, R resamples.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dpo_core.evaluation.intervals import (
    UNKNOWN,
    Floats,
    Integers,
    Interval,
    group_numbers,
    interval_around,
    outcome_values,
    percentile_ends,
    smooth_weights,
)

Match = tuple[Hashable, Hashable, float]
"""(first, second, outcome): 1 the first policy won, 0.5 a tie, 0 it lost; probabilities allowed."""

RIDGE = 0.001
"""Penalty ½·RIDGE·Σ θ² on the log-likelihood: a normal prior with a standard deviation of 32
logits, which keeps a policy that won or lost every match finite."""

_LEAST_RIDGE = 1e-6
"""Ridge for resamples, which are finite without one: just enough for the linear solver."""

_CELLS_AT_ONCE = 1 << 20
"""Numbers in the largest array at a time: 8 MiB, whatever the number of groups and resamples."""

_STEPS, _LONGEST_STEP, _PRECISION = 60, 2.0, 1e-7
"""Of Newton's method: most steps, longest step in logits, step length at which it has converged."""


@dataclass(frozen=True, eq=False)
class Ratings(Mapping[Hashable, Interval]):
    """Policy → strength in logits with its interval. The base has strength 0 and no width.

    A policy that no chain of matches connects with the base has NaN for estimate and ends.
    """

    base: Hashable
    by_policy: Mapping[Hashable, Interval]

    @property
    def estimate(self) -> dict[Hashable, float]:
        return {policy: rating.estimate for policy, rating in self.by_policy.items()}

    @property
    def low(self) -> dict[Hashable, float]:
        return {policy: rating.low for policy, rating in self.by_policy.items()}

    @property
    def high(self) -> dict[Hashable, float]:
        return {policy: rating.high for policy, rating in self.by_policy.items()}

    def __getitem__(self, policy: Hashable) -> Interval:
        return self.by_policy[policy]

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.by_policy)

    def __len__(self) -> int:
        return len(self.by_policy)


def bradley_terry(
    matches: Iterable[Match],
    *,
    base: Hashable | None = None,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 1_000,
    seed: int = 0,
) -> Ratings:
    """Bradley–Terry strengths θ in logits: P(first beats second) = σ(θ_first − θ_second).

    They maximise Σ y·log σ + (1 − y)·log(1 − σ) over the matches, with θ_base = 0, less a small
    ridge (`RIDGE`) against separation (Bradley & Terry 1952, "Rank analysis of incomplete block
    designs"; Hunter 2004, "MM algorithms for generalized Bradley–Terry models", for when the
    maximum exists).

    The interval is the percentile bootstrap over groups with smooth weights. Each resample also
    holds, for every pair of policies that met, a win and a loss with independent Gamma(½, 1)
    weights, in units of one group. Alone they would be Jeffreys' prior on that pair's win rate, so
    a policy that won every match has an interval of some width. Matches are summed by group and
    pair in sparse matrices; Newton's method fits all resamples at a time.

    Args:
        matches: (first, second, outcome); the outcome is 1 where the first policy won, 0.5 for a
            tie, 0 where it lost; probabilities allowed.
        base: the policy at 0. By default "base" if it played, otherwise the first by name, numbers
            by value.
        groups: what each match shares with others, such as its prompt; without groups every match
            is its own.
        confidence: of the intervals, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        Ratings, a mapping from policy to Interval.

    Raises:
        ValueError: no matches; a policy against itself; outcomes outside [0, 1] or not finite; a
            base that never played; groups of another number than matches; a confidence outside
            (0, 1).

    Example:
        >>> ratings = bradley_terry([("r1", "base", 1)] * 3 + [("base", "r1", 1)])
        >>> round(ratings["r1"].estimate, 2)  # ln 3
        1.1
    """
    rows = list(matches)
    outcomes = outcome_values([outcome for _, _, outcome in rows], confidence)
    policies = by_name({policy for first, second, _ in rows for policy in (first, second)})
    base = _choose_base(policies, base)
    number_N = group_numbers(groups, len(rows))
    place = {policy: index for index, policy in enumerate(policies)}
    ends = np.array([[place[first], place[second]] for first, second, _ in rows])
    if (ends[:, 0] == ends[:, 1]).any():
        raise ValueError("a policy cannot play against itself")
    met = _Matches.connected(ends, outcomes, number_N, place[base])
    by_place = dict(zip(met.policies_P, _rate(met, confidence, resamples, seed), strict=True))
    by_place[place[base]] = Interval(0.0, 0.0, 0.0)
    return Ratings(base, {policy: by_place.get(place[policy], UNKNOWN) for policy in policies})


@dataclass(frozen=True)
class _Matches:
    """The matches of all policies connected with the base, summed by pair and group.

    policies_P: their places. difference_EP: sparse, +1 for the pair's first and −1 for its second,
    neither for the base. played_En, won_En: sparse, matches and what the first won of them.
    """

    policies_P: list[int]
    difference_EP: Any
    played_En: Any
    won_En: Any

    @classmethod
    def connected(
        cls, ends: Integers, outcomes: Floats, number_N: Integers, base: int
    ) -> "_Matches":
        """ends: (N, 2) places of each match's first and second policy."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        size = int(ends.max()) + 1
        graph = coo_array((np.ones(len(ends)), ends.T), shape=(size, size))
        _, part = connected_components(graph, directed=False)
        connected_N = part[ends[:, 0]] == part[base]
        ends, outcomes, number_N = ends[connected_N], outcomes[connected_N], number_N[connected_N]
        won = np.where(ends[:, 0] < ends[:, 1], outcomes, 1 - outcomes)
        pairs, pair_N = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
        shape = (len(pairs), int(number_N.max(initial=-1)) + 1)
        by_pair = [
            coo_array((values, (pair_N.ravel(), number_N)), shape=shape).tocsr()
            for values in (np.ones(len(ends)), won)
        ]
        rows = np.arange(len(pairs))
        signs = np.repeat([1.0, -1.0], len(pairs))
        places = (np.tile(rows, 2), np.concatenate([pairs[:, 0], pairs[:, 1]]))
        difference = coo_array((signs, places), shape=(len(pairs), size)).tocsc()
        others = [int(place) for place in np.unique(pairs) if place != base]
        return cls(others, difference[:, others].tocsr(), *by_pair)

    @cached_property
    def outer_EQ(self) -> Any:
        """Outer product of each difference with itself, flattened: sparse, shape (E, P·P)."""
        from scipy.sparse import vstack

        rows = (self.difference_EP[[row]] for row in range(self.difference_EP.shape[0]))
        return vstack([(row.T @ row).reshape((1, -1)) for row in rows]).tocsr()

    @property
    def groups(self) -> int:
        """Number of groups with matches of these policies."""
        return len(np.unique(self.played_En.indices))

    @property
    def matches_by_group_E(self) -> Floats:
        """Mean number of a pair's matches per group that has any, shape (E,)."""
        groups: Floats = np.diff(self.played_En.indptr)
        mean: Floats = self.played_En.sum(axis=1) / groups
        return mean


def _rate(met: _Matches, confidence: float, resamples: int, seed: int) -> list[Interval]:
    """The ratings of `met.policies_P`, in their order."""
    if not met.policies_P:
        return []
    pairs, n = met.played_En.shape
    whole_P1 = _fit(
        met,
        met.played_En.sum(axis=1)[:, None],
        met.won_En.sum(axis=1)[:, None],
        np.zeros((len(met.policies_P), 1)),
        RIDGE,
    )
    rng = np.random.default_rng(seed)
    resampled = []
    at_once = max(1, _CELLS_AT_ONCE // max(n, pairs, len(met.policies_P) ** 2))
    for weights in smooth_weights(rng, n, resamples, at_once):
        jeffreys = rng.gamma(0.5, size=(2, pairs, len(weights)))
        wins, losses = jeffreys * met.matches_by_group_E[:, None]
        played_ER = met.played_En @ weights.T + wins + losses
        won_ER = met.won_En @ weights.T + wins
        resampled.append(_fit(met, played_ER, won_ER, whole_P1, _LEAST_RIDGE))
    ends = percentile_ends(np.concatenate(resampled, axis=1).T, met.groups, confidence)
    return [interval_around(float(t), *e) for t, e in zip(whole_P1[:, 0], ends.T, strict=True)]


def _fit(
    met: _Matches, played_ER: Floats, won_ER: Floats, start_P1: Floats, ridge: float
) -> Floats:
    """Strengths of each resample, shape (P, R), by Newton's method."""
    from scipy.special import expit

    difference_EP = met.difference_EP
    policies = len(start_P1)
    theta_PR = np.repeat(start_P1, played_ER.shape[1], axis=1)
    for _ in range(_STEPS):
        p_ER = expit(difference_EP @ theta_PR)
        slope_PR = difference_EP.T @ (won_ER - played_ER * p_ER) - ridge * theta_PR
        curvature_RPP = (met.outer_EQ.T @ (played_ER * p_ER * (1 - p_ER))).T.reshape(
            -1, policies, policies
        ) + ridge * np.eye(policies)
        step_PR = np.linalg.solve(curvature_RPP, slope_PR.T[:, :, None])[:, :, 0].T
        step_PR = np.clip(step_PR, -_LONGEST_STEP, _LONGEST_STEP)
        theta_PR = theta_PR + step_PR
        if np.abs(step_PR).max() < _PRECISION:
            break
    return theta_PR


def by_name(policies: Iterable[Hashable]) -> list[Hashable]:
    """Policies in order: numbers by value, then all others by their text."""

    def key(policy: Hashable) -> tuple[bool, float, str]:
        number = isinstance(policy, int | float)
        return (not number, float(policy) if isinstance(policy, int | float) else 0.0, str(policy))

    return sorted(policies, key=key)


def _choose_base(policies: Sequence[Hashable], base: Hashable | None) -> Hashable:
    if base is None:
        return "base" if "base" in policies else policies[0]
    if base not in policies:
        raise ValueError(f"the base {base!r} played no match")
    return base
