"""From votes to preferences; expected numbers are derived beside each."""

import math
from itertools import combinations

import pytest
from ballots import ballot

from labeling.aggregation.bradley_terry import PairOutcome, fit_bradley_terry
from labeling.aggregation.config import AggregationConfig
from labeling.aggregation.preferences import Aggregate, ComparedPair, aggregate
from labeling.aggregation.votes import Ballots

PAIR = ComparedPair("p", "prompt", "one", "two")
AUTO = AggregationConfig()
SOFT = AggregationConfig(targets="soft")
HARD = AggregationConfig(targets="hard")


def of_one(ballots: Ballots, config: AggregationConfig = AUTO) -> Aggregate | str:
    return aggregate([PAIR], ballots, config, takes_soft=True).by_pair["p"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # (k + ½)/(n + 1): two of two, 2.5/3; two of three, 2.5/4; with half a vote, 2/3.
        ({"s": "a", "t": "a"}, Aggregate("a", 2.5 / 3, 1.0)),
        ({"s": "b", "t": "b", "u": "a"}, Aggregate("b", 2.5 / 4, 2 / 3)),
        ({"s": "b", "t": "tie"}, Aggregate("b", 2 / 3, 1 / 2)),
        ({"s": "a", "t": "both_bad"}, Aggregate("a", 2 / 3, 1 / 2)),
        ({"s": "a", "t": "b"}, "tie"),
        ({"s": "a", "t": "tie", "u": "tie"}, "tie"),
        ({"s": "a", "t": "both_bad", "u": "both_bad"}, "both_bad"),
    ],
)
def test_the_smoothed_vote_share(said: dict[str, str], expected: Aggregate | str) -> None:
    found = of_one({"p": ballot(said)})
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert (found.better, found.agreement) == (expected.better, pytest.approx(expected.agreement))
    assert found.p_chosen == pytest.approx(expected.p_chosen)


def test_a_vote_of_weight_three_counts_as_three() -> None:
    found = of_one({"p": ballot({"s": "a", "human:x": "b"}, {"human:x": 3.0})})
    assert isinstance(found, Aggregate)
    assert found.better == "b"
    assert found.p_chosen == pytest.approx((3 + 0.5) / (4 + 1))
    assert found.agreement == pytest.approx(3 / 4)


def test_many_votes_are_never_surer_than_the_bound() -> None:
    found = of_one({"p": ballot({f"s{i}": "a" for i in range(99)})}, SOFT)
    assert found == Aggregate("a", 0.98, 1.0)  # (99 + ½)/100 = 0.995 without it


@pytest.mark.parametrize(
    ("config", "takes_soft", "sources", "targets", "p_chosen"),
    [
        (AUTO, True, 1, "hard", 1.0),  # a lone source: nothing says how often it errs
        (AUTO, True, 2, "soft", 2.5 / 3),
        (AUTO, False, 2, "hard", 1.0),
        (HARD, True, 2, "hard", 1.0),
        (SOFT, True, 1, "soft", 1.5 / 2),
    ],
)
def test_which_targets(
    config: AggregationConfig, takes_soft: bool, sources: int, targets: str, p_chosen: float
) -> None:
    ballots = {"p": ballot({f"s{i}": "a" for i in range(sources)})}
    found = aggregate([PAIR], ballots, config, takes_soft=takes_soft)
    assert found.targets == targets
    preference = found.by_pair["p"]
    assert isinstance(preference, Aggregate) and preference.p_chosen == pytest.approx(p_chosen)


def test_sources_that_share_no_pair_are_no_committee() -> None:
    """Two people who answered different pairs: each pair has one source, as with a lone judge."""
    other = ComparedPair("q", "prompt 2", "three", "four")
    ballots = {"p": ballot({"human:x": "a"}), "q": ballot({"human:y": "b"})}
    assert aggregate([PAIR, other], ballots, AUTO, takes_soft=True).targets == "hard"


def test_pairs_nobody_voted_on_are_dropped() -> None:
    assert of_one({}) == "unlabelled"


def on_prompt(wins: dict[str, dict[str, str]]) -> dict[str, Aggregate | str]:
    """Pairs "x-y" of one prompt with what sources say of them."""
    pairs = [ComparedPair(pair, "prompt", *pair.split("-")) for pair in wins]
    ballots = {pair: ballot(said) for pair, said in wins.items()}
    return dict(aggregate(pairs, ballots, SOFT, takes_soft=True).by_pair)


def test_a_chain_of_pairs_keeps_its_shares() -> None:
    """Without a cycle, strengths fit every pair exactly: 2.5/3 and (1 + ½ + ½)/3 = 2/3."""
    found = on_prompt({"i-j": {"s": "a", "t": "a"}, "j-k": {"s": "b", "t": "tie"}})
    assert found["i-j"] == Aggregate("a", pytest.approx(2.5 / 3, abs=1e-6), 1.0)
    assert found["j-k"] == Aggregate("b", pytest.approx(2 / 3, abs=1e-6), 0.5)


def test_pairs_of_a_cycle_correct_each_other() -> None:
    """i beats j and j beats k; i against k: one vote each, alone a tie.

    The scale is symmetric around j: θ_i = x, θ_j = 0, θ_k = −x. With votes and the ½ of smoothing,
    i-j and j-k have 2.5 wins of 3, i-k has 1.5 of 3; the maximum has, for θ_i,
    2.5 + 1.5 = 3·σ(x) + 3·σ(2x).
    """
    found = on_prompt(
        {
            "i-j": {"s": "a", "t": "a"},
            "j-k": {"s": "a", "t": "a"},
            "i-k": {"s": "a", "t": "b"},
        }
    )
    low, high = 0.0, 5.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if 3 * sigma(x) + 3 * sigma(2 * x) < 4 else (low, x)
    assert found["i-j"] == Aggregate("a", pytest.approx(sigma(x), abs=1e-5), 1.0)
    assert found["j-k"] == Aggregate("a", pytest.approx(sigma(x), abs=1e-5), 1.0)
    assert found["i-k"] == "tie"  # although i is stronger: nobody preferred it in this pair


def test_going_round_in_a_circle_is_no_preference() -> None:
    found = on_prompt({"i-j": {"s": "a"}, "j-k": {"s": "a"}, "k-i": {"s": "a"}})
    assert set(found.values()) == {"tie"}


def test_a_scale_recovers_planted_strengths() -> None:
    strengths = {"v": 4.0, "w": 2.0, "x": 1.0, "y": 0.5}
    found = fit_bradley_terry(
        PairOutcome(f"{a}-{b}", a, b, strengths[a] / (strengths[a] + strengths[b]), 10.0)
        for a, b in combinations(strengths, 2)
    )
    for a, b in combinations(strengths, 2):
        expected = strengths[a] / (strengths[a] + strengths[b])
        assert found[f"{a}-{b}"] == pytest.approx(expected, abs=2e-6)


def test_parts_that_share_no_completion_stay_apart() -> None:
    alone = [PairOutcome("p", "a", "b", 0.7, 1.0), PairOutcome("q", "c", "d", 0.6, 1.0)]
    assert fit_bradley_terry(alone) == {}


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))
