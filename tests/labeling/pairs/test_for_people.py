"""Where people's labels go: what a pair is worth, what chance picks, what the budget allows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.hashing import derive_seed
from dpo_core.records import Judgement, Verdict
from labeling.pairs.for_people import (
    CLOSE,
    DISAGREE,
    ORDER,
    RANDOM,
    ROOM,
    UNCERTAIN,
    UNRELIABLE,
    UNSURE,
    LabelBudget,
    LabelPlan,
    PairCandidate,
    SelectedForPeople,
    choose_for_people,
    disagreement,
    order_dependence,
    policy_uncertainty,
    split_budget,
)
from labeling.people.config import BudgetConfig, PeopleConfig

SEED = 5


def chosen(
    candidates: list[PairCandidate], pairs: int = 100, **plan: Any
) -> list[SelectedForPeople]:
    return choose_for_people(candidates, LabelPlan(pairs, SEED, **plan))


def by_id(found: list[SelectedForPeople]) -> dict[str, SelectedForPeople]:
    return {each.pair_id: each for each in found}


def judged(*verdicts: Verdict | None, confidence: float | None = None) -> tuple[Judgement, ...]:
    return tuple(Judgement(v, confidence=confidence) for v in verdicts)


def both_orders(forward: Verdict, backward: Verdict) -> tuple[Judgement, ...]:
    verdict = forward if forward == backward else "tie"
    return (Judgement(verdict, forward=forward, backward=backward),)


def test_the_mean_rank_of_three_doubts_is_the_worth() -> None:
    found = by_id(
        chosen(
            [
                PairCandidate("split", judged("a", "b"), margin=0.5, uncertainty=1.0),
                PairCandidate("close", judged("a", "a"), margin=-0.1, uncertainty=2.0),
                PairCandidate("sure", judged("b", "b"), margin=2.0, uncertainty=0.5),
            ]
        )
    )
    # Ranks among three are 0, 1/2 and 1: the share of the other two that are less doubtful.
    assert found["split"] == SelectedForPeople(
        "split", DISAGREE, pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    )
    assert found["close"] == SelectedForPeople("close", CLOSE, pytest.approx((0 + 1 + 1) / 3))
    assert found["sure"] == SelectedForPeople("sure", ROOM, 0.0)
    assert [c.pair_id for c in chosen([*map(PairCandidate, "xyz")], 0)] == []


def test_a_judge_that_follows_the_position_doubts_as_judges_that_disagree() -> None:
    found = chosen(
        [
            PairCandidate("steady", both_orders("a", "a")),
            PairCandidate("follows", both_orders("a", "b")),
            PairCandidate("tied", both_orders("tie", "tie")),
        ],
        pairs=1,
    )
    assert found == [SelectedForPeople("follows", ORDER, 1.0)]


def test_low_confidence_doubts_where_there_are_no_scores() -> None:
    found = chosen(
        [
            PairCandidate("sure", judged("a", confidence=0.99)),
            PairCandidate("even", judged("b", confidence=0.51)),
            PairCandidate("fair", judged("b", confidence=0.8)),
        ],
        pairs=2,
    )
    # fair stands above one of the other two, which alone is no reason.
    assert found == [SelectedForPeople("even", UNSURE, 1.0), SelectedForPeople("fair", ROOM, 0.5)]


def test_what_is_not_known_neither_helps_nor_hurts() -> None:
    found = by_id(
        chosen(
            [
                PairCandidate("p", uncertainty=1.0),
                PairCandidate("q", uncertainty=3.0),
                PairCandidate("r"),
            ]
        )
    )
    assert found["q"] == SelectedForPeople("q", UNCERTAIN, 1.0)
    assert found["p"].worth == found["r"].worth == 0.0


def test_measures_of_doubt() -> None:
    assert disagreement(judged("a", "a", "b")) == pytest.approx(2 / 3)  # of 3 pairs of judges
    assert disagreement(judged("a", "tie", None)) == 1.0
    assert disagreement(judged("a", None)) is None
    assert order_dependence((*both_orders("a", "b"), *both_orders("b", "b"))) == 0.5
    assert order_dependence(judged("a")) is None
    # Means of −1 and −3, each completion counting once whatever its length.
    assert policy_uncertainty([-1.0, -1.0, -1.0], [-3.0]) == pytest.approx(2.0)
    assert policy_uncertainty([-1.0], None) is None
    assert policy_uncertainty([-1.0], []) is None


def test_unreliable_pairs_go_first() -> None:
    pairs = [PairCandidate(name, uncertainty=float(n)) for n, name in enumerate("pqrst")]
    found = chosen(pairs, pairs=3, unreliable={"q", "p", "not in this round"})
    assert [(c.pair_id, c.why) for c in found] == [
        ("q", UNRELIABLE),
        ("p", UNRELIABLE),
        ("t", UNCERTAIN),
    ]


def test_the_random_share_is_a_simple_random_sample_of_all_pairs() -> None:
    pairs = [PairCandidate(f"p{n}", uncertainty=float(n)) for n in range(50)]
    found = chosen(pairs, pairs=20, calibration_share=0.25, unreliable={"p0"})
    at_random = [c.pair_id for c in found if c.why == RANDOM]
    by_hash = sorted((p.pair_id for p in pairs), key=lambda p: derive_seed(SEED, p))
    assert at_random == by_hash[:5]  # a quarter of 20, whatever they are worth
    assert len(found) == len(by_id(found)) == 20
    # The other 15: the unreliable one, then the most uncertain that are not in the sample.
    rest = [c.pair_id for c in found if c.why != RANDOM]
    by_worth = [f"p{n}" for n in reversed(range(1, 50)) if f"p{n}" not in at_random]
    assert rest == ["p0", *by_worth[:14]]
    # They are spread evenly: each quarter of the list holds its share.
    assert [c.why for c in found].count(RANDOM) == 5
    for start in range(0, 20, 4):
        assert [c.why for c in found[start : start + 4]].count(RANDOM) == 1


def test_each_pair_is_as_likely_to_be_picked_at_random() -> None:
    pairs = [PairCandidate(f"p{n}", uncertainty=float(n)) for n in range(10)]
    times = dict.fromkeys((p.pair_id for p in pairs), 0)
    for seed in range(1000):
        for each in choose_for_people(pairs, LabelPlan(4, seed, calibration_share=0.5)):
            times[each.pair_id] += each.why == RANDOM
    # 2 of 10 in each of 1000 draws: 200, of binomial spread √(1000·0.2·0.8) ≈ 12.6.
    assert all(abs(count - 200) < 5 * 12.6 for count in times.values()), times


def test_choose_random_looks_at_nothing() -> None:
    pairs = [PairCandidate(f"p{n}", uncertainty=float(n)) for n in range(9)]
    found = chosen(pairs, pairs=4, choose="random", unreliable={"p0"})
    assert {c.why for c in found} == {RANDOM} and len(found) == 4


@given(
    st.lists(st.tuples(st.none() | st.floats(-5, 5), st.none() | st.floats(0, 5)), max_size=12),
    st.integers(0, 15),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_the_order_of_candidates_changes_nothing(
    known: list[tuple[float | None, float | None]], pairs: int, share: float, random: Any
) -> None:
    candidates = [PairCandidate(f"p{n}", (), *values) for n, values in enumerate(known)]
    shuffled = candidates[:]
    random.shuffle(shuffled)
    found = chosen(candidates, pairs, calibration_share=share)
    assert found == chosen(shuffled, pairs, calibration_share=share)
    assert len(found) == len(by_id(found)) == min(pairs, len(candidates))
    assert all(0 <= c.worth <= 1 for c in found)


def ask(labels: int | None, pairs: int = 100, gold: int = 50, **people: Any) -> LabelBudget:
    budget = BudgetConfig(human_labels=labels)
    return split_budget(PeopleConfig(**people), budget, pairs=pairs, gold=gold)


def test_a_budget_is_split_into_pairs_gold_and_repeats() -> None:
    assert ask(None) == LabelBudget(100, 0, 0, 1)
    assert ask(60) == LabelBudget(60, 0, 0, 1)
    assert ask(60, min_submitted=3) == LabelBudget(20, 0, 0, 3)
    # A tenth and a fifth of the 40 that are asked are hidden ones.
    assert ask(40, gold_share=0.1, repeat_share=0.2) == LabelBudget(28, 4, 8, 1)
    assert ask(80, gold_share=0.1, repeat_share=0.2, min_submitted=2) == LabelBudget(28, 4, 8, 2)
    # Gold that is not there leaves its place to pairs.
    assert ask(40, gold=1, gold_share=0.1, repeat_share=0.2) == LabelBudget(31, 1, 8, 1)
    # Without a budget all pairs are asked, and the hidden ones come on top: 100 / 0.8 = 125.
    assert ask(None, gold_share=0.1, repeat_share=0.1) == LabelBudget(100, 12, 12, 1)
    assert ask(2, min_submitted=3) == LabelBudget(0, 0, 0, 3)
    assert ask(50, pairs=0, gold_share=0.1) == LabelBudget(0, 0, 0, 1)


@given(
    st.integers(1, 500),
    st.integers(0, 200),
    st.integers(0, 50),
    st.integers(1, 5),
    st.floats(0, 0.45),
    st.floats(0, 0.45),
)
def test_a_budget_is_never_exceeded(
    labels: int, pairs: int, gold: int, answers_each: int, gold_share: float, repeat_share: float
) -> None:
    shares = {"gold_share": gold_share, "repeat_share": repeat_share}
    found = ask(labels, pairs, gold, min_submitted=answers_each, **shares)
    assert found.answers <= labels
    assert found.pairs <= pairs and found.gold <= gold
    total = found.pairs + found.gold + found.repeats
    assert found.repeats <= repeat_share * total + 1e-6
    assert found.gold <= gold_share * total + 1  # it was counted before repeats were fewer
    free = ask(None, pairs, gold, min_submitted=answers_each, **shares)
    assert free.pairs == pairs
