"""Bradley–Terry strengths: by hand, planted, separated, disconnected; coverage."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from dpo_core.evaluation import Interval, bradley_terry
from dpo_core.evaluation.ratings import Match

PAIRS = [(1, 0), (2, 1), (2, 0), (3, 0), (3, 2)]
STRENGTHS = {0: 0.0, 1: 0.5, 2: 0.8, 3: 1.5}


def chance(strengths: Mapping[int, float], first: int, second: int) -> float:
    return 1 / (1 + math.exp(strengths[second] - strengths[first]))


def played(
    rng: np.random.Generator, pairs: Iterable[tuple[int, int]], prompts: int
) -> tuple[list[Match], list[int]]:
    """Matches of each pair on the same prompts, and the prompt of each."""
    matches: list[Match] = [
        (first, second, float(won))
        for first, second in pairs
        for won in rng.random(prompts) < chance(STRENGTHS, first, second)
    ]
    return matches, [number % prompts for number in range(len(matches))]


def test_two_policies_are_the_logit_of_their_win_rate() -> None:
    found = bradley_terry([("r1", "base", 1.0)] * 75 + [("base", "r1", 1.0)] * 25)
    assert found.base == "base" and found["base"] == Interval(0.0, 0.0, 0.0)
    assert found["r1"].estimate == pytest.approx(math.log(3), abs=1e-3)
    # The delta method: √(1/(n·p·q)) logits on either side.
    assert found["r1"].high - found["r1"].low == pytest.approx(
        2 * 1.96 * math.sqrt(1 / (100 * 0.75 * 0.25)), rel=0.15
    )


def test_probabilities_that_fit_exactly_give_back_the_strengths() -> None:
    matches = [(a, b, chance(STRENGTHS, a, b)) for a, b in PAIRS] * 50
    found = bradley_terry(matches)
    assert found.estimate == pytest.approx(STRENGTHS, abs=2e-3)
    assert set(found) == set(found.low) == set(found.high) == set(STRENGTHS)


def test_ties_are_half_a_win_each_way() -> None:
    ties = bradley_terry([("r1", "base", 0.5)] * 40 + [("r1", "base", 1.0)] * 60)
    halves = bradley_terry([("r1", "base", 1.0)] * 80 + [("r1", "base", 0.0)] * 20)
    assert ties["r1"].estimate == pytest.approx(halves["r1"].estimate)
    assert width(ties["r1"]) < width(halves["r1"])


def test_policies_that_never_met_are_rated_through_others() -> None:
    found = bradley_terry([(1, 0, 0.75), (2, 1, 0.75)] * 100)
    assert found[2].estimate == pytest.approx(2 * math.log(3), abs=2e-3)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_separated_policies_stay_finite_with_width(outcome: float) -> None:
    found = bradley_terry([("r1", "base", outcome)] * 200)["r1"]
    assert math.isfinite(found.low) and math.isfinite(found.high)
    side = 1 if outcome else -1
    nearest, farthest = sorted((side * found.low, side * found.high))
    # Beta(200.5, ½) lies above 0.9875 with 97.5 %: logit 4.4.
    assert nearest == pytest.approx(4.4, abs=0.5)
    assert nearest < side * found.estimate < farthest


def test_policies_without_a_chain_to_the_base_are_unknown() -> None:
    found = bradley_terry([("r1", "base", 0.7), ("x", "y", 1.0)] * 30)
    assert math.isfinite(found["r1"].estimate)
    assert all(math.isnan(end) for p in ("x", "y") for end in (found[p].low, found[p].estimate))


def test_the_base_by_name() -> None:
    assert bradley_terry([("b", "a", 0.5)]).base == "a"
    assert bradley_terry([(10, 2, 0.5), (2, 0, 0.5)]).base == 0
    assert bradley_terry([("a", "base", 0.5)]).base == "base"
    turned = bradley_terry([("b", "a", 0.75)] * 100, base="b")
    assert turned["a"].estimate == pytest.approx(-math.log(3), abs=1e-3)


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    matches, prompts = played(rng, PAIRS, 100)
    once = bradley_terry(matches, groups=prompts)
    often = bradley_terry(matches * 9, groups=prompts * 9)
    naive = bradley_terry(matches * 9)
    for policy in (1, 2, 3):
        assert width(often[policy]) == pytest.approx(width(once[policy]), rel=0.15)
        assert width(naive[policy]) < 0.45 * width(once[policy])


def test_equal_seeds_and_reordered_matches_give_equal_ratings() -> None:
    matches, prompts = played(np.random.default_rng(1), PAIRS, 60)
    forward = bradley_terry(matches, groups=prompts, resamples=100)
    backward = bradley_terry(matches[::-1], groups=prompts[::-1], resamples=100)
    for policy in forward:
        assert forward[policy].estimate == pytest.approx(backward[policy].estimate)
        assert forward[policy].low == pytest.approx(backward[policy].low)


def test_fifty_rounds() -> None:
    """A ladder of 50 policies, each 0.1 logits above the last, every one against the base too."""
    matches = [
        (a, b, 1 / (1 + math.exp(0.1 * (b - a))))
        for a, b in [(i, i - 1) for i in range(1, 51)] + [(i, 0) for i in range(2, 51)]
        for _ in range(20)
    ]
    found = bradley_terry(matches, resamples=50)
    assert found[50].estimate == pytest.approx(5, abs=0.1)
    assert len(found) == 51


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_planted_strengths_are_covered(ties: float) -> None:
    """95 % intervals hold the strengths in 93 … 97 % of 1,000 simulations, five pairs of policies
    on 200 prompts each. A tie says ½: with it the truth lies where the mean outcome does."""
    rng = np.random.default_rng(2)
    pairs = PAIRS if not ties else [(1, 0), (2, 1), (3, 2)]
    gaps = {(a, b): (1 - ties) * chance(STRENGTHS, a, b) + ties * 0.5 for a, b in pairs}
    truth = dict(STRENGTHS)
    if ties:  # a ladder: strengths add up along it
        for (a, b), p in gaps.items():
            truth[a] = truth[b] + math.log(p / (1 - p))
    held = dict.fromkeys((1, 2, 3), 0)
    for seed in range(1_000):
        matches: list[Match] = []
        for (a, b), p in gaps.items():
            won = rng.random(200) < (p - ties / 2) / (1 - ties)
            outcomes = np.where(rng.random(200) < ties, 0.5, won)
            matches += [(a, b, float(outcome)) for outcome in outcomes]
        prompts = list(range(200)) * len(gaps)
        found = bradley_terry(matches, groups=prompts, resamples=100, seed=seed)
        for policy in held:
            held[policy] += found[policy].low <= truth[policy] <= found[policy].high
    assert all(930 <= count <= 970 for count in held.values()), held


@pytest.mark.parametrize(
    ("matches", "options", "says"),
    [
        ([], {}, "at least one"),
        ([("a", "a", 1.0)], {}, "itself"),
        ([("a", "b", 1.5)], {}, r"in \[0, 1\]"),
        ([("a", "b", 1.0)], {"base": "c"}, "played no match"),
        ([("a", "b", 1.0)], {"groups": [1, 2]}, "2 groups"),
    ],
)
def test_refusals(matches: list[Match], options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bradley_terry(matches, **options)  # type: ignore[arg-type]


def width(found: Interval) -> float:
    return found.high - found.low
