"""Dawid-Skene on simulated sources whose errors are known."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

import pytest
from ballots import ballot

from labeling.aggregation.config import AggregationConfig
from labeling.aggregation.dawid_skene import count_overlap, posteriors
from labeling.aggregation.preferences import Aggregate, ComparedPair, aggregate
from labeling.aggregation.votes import Ballots, share_of_a, vote_shares

ACCURACIES = {"expert": 0.95, "good": 0.75, "s3": 0.6, "s4": 0.6, "s5": 0.55}
PAIRS = 400


@pytest.fixture(scope="module")
def simulated() -> tuple[Ballots, dict[str, str]]:
    """Votes of sources with planted accuracies, and the right verdicts."""
    chance = random.Random(5)
    truth = {f"p{i}": chance.choice("ab") for i in range(PAIRS)}
    ballots = {
        pair: ballot(
            {
                source: right if chance.random() < accuracy else "ab"[right == "a"]
                for source, accuracy in ACCURACIES.items()
            }
        )
        for pair, right in truth.items()
    }
    return ballots, truth


def right_share(p_a: dict[str, float], truth: dict[str, str]) -> float:
    return sum(0.5 if p == 0.5 else (p > 0.5) == (truth[i] == "a") for i, p in p_a.items()) / PAIRS


def test_it_is_right_more_often_than_the_majority(
    simulated: tuple[Ballots, dict[str, str]],
) -> None:
    ballots, truth = simulated
    majority = {i: share_of_a(s) for i, s in vote_shares(ballots).items()}
    estimated = {i: share_of_a(s) for i, s in posteriors(ballots).items()}
    assert right_share(estimated, truth) > right_share(majority, truth) + 0.05
    assert right_share(estimated, truth) > 0.93  # the expert alone has 0.95


def test_it_recovers_how_each_source_errs(simulated: tuple[Ballots, dict[str, str]]) -> None:
    """Who said what, counted against the estimated verdicts, gives each confusion matrix back."""
    ballots, truth = simulated
    planted = confusion(ballots, {i: {right: 1.0} for i, right in truth.items()})

    def error(estimated: Mapping[str, Mapping[str, float]]) -> float:
        found = confusion(ballots, estimated)
        return max(abs(found[cell] - share) for cell, share in planted.items())

    assert error(posteriors(ballots)) < 0.06
    assert error(vote_shares(ballots)) > 0.2  # the majority takes the expert for the others' equal


def confusion(
    ballots: Ballots, right: Mapping[str, Mapping[str, float]]
) -> dict[tuple[str, str, str], float]:
    """(source, right, said) → how often it says so where that is right."""
    cells: Counter[tuple[str, str, str]] = Counter()
    of: Counter[tuple[str, str]] = Counter()
    for pair, ballot_ in ballots.items():
        for vote in ballot_.votes:
            for side in "ab":
                share = right[pair].get(side, 0.0)
                cells[(vote.source, side, vote.verdict)] += share
                of[(vote.source, side)] += share
    return {cell: share / of[cell[:2]] for cell, share in cells.items()}


def test_weights_count_as_copies_of_a_source(simulated: tuple[Ballots, dict[str, str]]) -> None:
    """The odds of two sources add in logarithms; a weight of 2 adds the same ones again."""
    ballots, _ = simulated
    heavy = {
        i: ballot({v.source: v.verdict for v in b.votes}, {"good": 2.0}) for i, b in ballots.items()
    }
    plain, doubled = posteriors(ballots), posteriors(heavy)
    for pair, one in plain.items():
        moved = doubled[pair]["a"] - one["a"]
        named = next(v.verdict for v in ballots[pair].votes if v.source == "good")
        assert moved >= 0 if named == "a" else moved <= 0


def test_overlap_is_what_the_third_source_shares_with_two_others() -> None:
    three = ballot({"s": "a", "t": "a", "u": "b"})
    two = ballot({"s": "a", "t": "b"})
    assert count_overlap({}) == 0
    assert count_overlap({"1": two, "2": two}) == 0
    assert count_overlap({"1": three, "2": three, "3": two}) == 2
    # s and t have three pairs with three votes, u and v only two and one of them
    assert count_overlap({"1": three, "2": three, "3": ballot({"s": "a", "t": "a", "v": "b"})}) == 2


@pytest.mark.parametrize(
    ("settings", "pairs", "method"),
    [
        ({}, 49, "majority"),
        ({}, 50, "dawid_skene"),
        ({"min_overlap": 10}, 10, "dawid_skene"),
        ({"method": "dawid_skene"}, 1, "dawid_skene"),
        ({"method": "majority"}, 60, "majority"),
    ],
)
def test_when_it_is_used(settings: dict[str, str], pairs: int, method: str) -> None:
    ballots = {str(i): ballot({"s": "a", "t": "a", "u": "b"}) for i in range(pairs)}
    config = AggregationConfig.model_validate(settings)
    assert aggregate([], ballots, config, takes_soft=True).method == method


def test_its_posterior_is_the_target_within_the_bound(
    simulated: tuple[Ballots, dict[str, str]],
) -> None:
    ballots, _ = simulated
    pairs = [ComparedPair(i, i, f"{i}a", f"{i}b") for i in ballots]
    found = aggregate(pairs, ballots, AggregationConfig(), takes_soft=True)
    expected = posteriors(ballots)
    for pair, preference in found.by_pair.items():
        assert isinstance(preference, Aggregate)
        assert preference.p_chosen == pytest.approx(min(max(expected[pair].values()), 0.98))


def test_the_libraries_load_no_model_library() -> None:
    """The orchestrator stays light although it aggregates."""
    code = (
        "import sys\n"
        "from labeling.aggregation.agreement import cohen_kappa, krippendorff_alpha\n"
        "from labeling.aggregation.bradley_terry import PairOutcome, fit_bradley_terry\n"
        "from labeling.aggregation.dawid_skene import posteriors\n"
        "from labeling.aggregation.votes import Ballot, Vote\n"
        "assert not {'pandas', 'sklearn', 'crowdkit', 'choix'} & set(sys.modules)\n"
        "votes = tuple(Vote(s, v) for s, v in zip('stu', 'aab'))\n"
        "posteriors({'p': Ballot(votes)})\n"
        "fit_bradley_terry([PairOutcome(i, i, 'y', .5, 2) for i in 'pq'])\n"
        "cohen_kappa([('a', 'b'), ('a', 'a')]), krippendorff_alpha([['a', 'b'], ['a', 'a']])\n"
        "heavy = {'torch', 'transformers', 'vllm', 'prefect', 'argilla'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
