"""Circles of policies, planted by hand."""

import numpy as np
import pytest

from dpo_core.evaluation import bradley_terry
from dpo_core.evaluation.cycles import find_cycles, win_rates
from dpo_core.evaluation.ratings import Match


def beats(first: int, second: int, by: float = 0.7, matches: int = 100) -> list[Match]:
    won = round(by * matches)
    return [(first, second, 1.0)] * won + [(first, second, 0.0)] * (matches - won)


def circles(matches: list[Match]) -> list[tuple[object, ...]]:
    return [cycle.policies for cycle in find_cycles(win_rates(matches))]


def test_three_rounds_in_a_circle() -> None:
    matches = beats(3, 2) + beats(2, 1) + beats(1, 3, by=0.6)
    [found] = find_cycles(win_rates(matches))
    assert found.policies == (3, 2, 1)
    assert found.weakest.estimate == pytest.approx(0.6)
    assert found.sure == (found.weakest.low > 0.5)
    # The ratings say nothing of it: all three are alike but for the weaker victory.
    assert all(abs(rating.estimate) < 0.5 for rating in bradley_terry(matches).values())


def test_the_order_of_the_two_in_a_match_does_not_matter() -> None:
    turned = [(second, first, 1 - outcome) for first, second, outcome in beats(2, 1)]
    assert circles(beats(3, 2) + turned + beats(1, 3)) == [(3, 2, 1)]


def test_rounds_in_order_have_none() -> None:
    assert circles(beats(3, 2) + beats(2, 1) + beats(3, 1)) == []
    assert circles([]) == []


def test_a_tie_is_no_victory() -> None:
    assert circles(beats(3, 2) + beats(2, 1) + beats(1, 3, by=0.5)) == []


def test_a_long_way_round_is_found_with_what_leads_to_it() -> None:
    """4 > 3 > 2 > 1 > 0 > 4, and 5 that beats all: at most as many circles as victories."""
    victories = [(1, 0), (2, 1), (3, 2), (4, 3), (0, 4), (5, 4), (5, 0)]
    matches = [match for winner, loser in victories for match in beats(winner, loser)]
    assert circles(matches) == [(4, 3, 2, 1, 0)]


def test_two_circles_shortest_first() -> None:
    short = beats(2, 1) + beats(1, 0) + beats(0, 2)
    long = beats(13, 12) + beats(12, 11) + beats(11, 10) + beats(10, 13)
    assert circles(long + short) == [(2, 1, 0), (13, 12, 11, 10)]


def test_a_sure_circle_is_told_from_a_chance_one() -> None:
    sure = find_cycles(win_rates(beats(3, 2) + beats(2, 1) + beats(1, 3)))
    chance = find_cycles(win_rates(beats(3, 2, 0.52) + beats(2, 1, 0.52) + beats(1, 3, 0.52)))
    assert [c.sure for c in (*sure, *chance)] == [True, False]


def test_many_rounds_are_searched_at_once() -> None:
    """60 policies that beat each other at random: exponentially many circles, few are listed."""
    rng = np.random.default_rng(0)
    matches: list[Match] = [
        (a, b, float(rng.integers(2))) for a in range(60) for b in range(a) for _ in range(3)
    ]
    found = find_cycles(win_rates(matches, resamples=10))
    assert 0 < len(found) <= 60 * 59 / 2
    assert len(found[0].policies) == 3
