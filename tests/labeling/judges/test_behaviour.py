"""What is measured of a judge: every expected number is counted by hand beside its pairs."""

from collections.abc import Sequence

import pytest

from dpo_core.records import Completion, Cost, Judgement, Pair, Prompt, Score, Verdict, pair_id
from labeling.judges.behaviour import LengthBin, measure_behaviour
from labeling.judges.both_orders import combine_orders, judge_both_orders

PROMPT = Prompt("p", text="Why?")


def pair(number: int, a_tokens: int = 3, b_tokens: int = 3) -> Pair:
    a = Completion(f"a{number}", PROMPT, f"a {number}", "stop", a_tokens)
    b = Completion(f"b{number}", PROMPT, f"b {number}", "stop", b_tokens)
    return Pair(pair_id(a.completion_id, b.completion_id), a, b)


class Scripted:
    source = "scripted"

    def __init__(self, prefers_first: bool) -> None:
        self.prefers_first = prefers_first

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        first_is_longer = [p.a.tokens > p.b.tokens for p in pairs]
        say = [self.prefers_first or longer for longer in first_is_longer]
        return [
            Judgement("a" if yes else "b", confidence=0.9, cost=Cost(10, 1, 0.5)) for yes in say
        ]


def test_a_judge_that_names_the_first_position_is_found_out_and_decides_nothing() -> None:
    pairs = [pair(n, 3 + n, 10 - n) for n in range(6)]
    judgements = list(judge_both_orders(Scripted(prefers_first=True), pairs))
    found = measure_behaviour(list(zip(pairs, judgements, strict=True)))
    assert {judgement.verdict for judgement in judgements} == {"tie"}
    assert (found.position_bias, found.first_position_rate, found.self_consistency) == (1, 1, 0)
    assert (found.pairs, found.decided, found.ties, found.both_orders) == (6, 0, 6, 6)
    assert found.mean_confidence is None
    assert (found.tokens_in, found.tokens_out, found.money) == (120, 12, 6.0)  # two readings each


def test_a_judge_that_prefers_the_longer_has_no_position_bias() -> None:
    pairs = [pair(n, *((9, 4) if n % 2 else (4, 9))) for n in range(6)]
    judgements = list(judge_both_orders(Scripted(prefers_first=False), pairs))
    found = measure_behaviour(list(zip(pairs, judgements, strict=True)))
    assert (found.position_bias, found.first_position_rate, found.self_consistency) == (0, 0.5, 1)
    assert (found.longer_win_rate, found.length_pairs) == (1, 6)
    assert found.win_rate_per_100_tokens == pytest.approx(100 * 0.5 / 5)  # one half over 5 tokens
    assert found.mean_confidence == pytest.approx(0.9)


def test_half_of_the_readings_that_disagree() -> None:
    orders: list[tuple[Verdict | None, Verdict | None]] = [
        ("a", "a"),  # consistent: a first, then a second
        ("a", "b"),  # the first position twice
        ("b", "a"),  # the second position twice
        ("tie", "b"),  # inconsistent, but no position named twice
        (None, "a"),  # not readable in both
    ]
    judged = [
        (pair(n), Judgement("tie" if one else None, forward=one, backward=two))
        for n, (one, two) in enumerate(orders)
    ]
    same = Completion("s", PROMPT, "a 0", "stop", 3)
    equal = Pair("equal", pair(0).a, same)  # says nothing of positions
    found = measure_behaviour([*judged, (equal, Judgement("tie", forward="tie", backward="tie"))])
    assert found.both_orders == 4
    assert found.position_bias == 2 / 4
    assert found.self_consistency == 1 / 4
    # Named first: (a, a) yes no; (a, b) yes yes; (b, a) no no; (tie, b) yes.
    assert found.first_position_rate == 4 / 7
    assert (found.abstained, found.abstention_rate) == (1, 1 / 6)


def test_win_rate_by_length_difference() -> None:
    # By how many tokens a is longer, and the verdict: the longer wins where it is much longer.
    made: list[tuple[int, Verdict]] = [
        (1, "b"), (-1, "a"), (2, "b"), (-2, "tie"),
        (10, "a"), (-10, "b"), (20, "a"), (-20, "both_bad"),
        (0, "a"),
    ]  # fmt: skip
    judged = [(pair(n, 30 + d, 30), Judgement(v)) for n, (d, v) in enumerate(made)]
    found = measure_behaviour(judged)
    assert found.length_pairs == 8
    assert found.longer_win_rate == (0 + 0 + 0 + 0.5 + 1 + 1 + 1 + 0.5) / 8
    assert found.length_bins == (
        LengthBin(1, 1, 2, 0.0),
        LengthBin(2, 2, 2, 0.25),
        LengthBin(10, 10, 2, 1.0),
        LengthBin(20, 20, 2, 0.75),
    )
    squares = 2 * (1 + 4 + 100 + 400)
    products = (1 + 1 + 2) * -0.5 + (10 + 10 + 20) * 0.5
    assert found.win_rate_per_100_tokens == pytest.approx(100 * products / squares)


def test_a_scoring_judge_is_consistent_where_repeated_answers_get_the_same_score() -> None:
    texts, values = ["x", "x", "y", "x", "y"], [1.0, 1.0, 2.0, 3.0, 2.0]
    scored = [
        (Completion(str(n), PROMPT, text, "stop", 1), Score(value, cost=Cost(5, 1, 0.25)))
        for n, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
    found = measure_behaviour([], scored)
    assert found.self_consistency == 2 / 3  # of the second x, the third x and the second y
    assert (found.tokens_in, found.tokens_out, found.money) == (25, 5, 1.25)


def test_nothing_judged_has_no_rates() -> None:
    found = measure_behaviour([])
    assert found.pairs == 0
    rates = (found.abstention_rate, found.position_bias, found.longer_win_rate)
    assert (*rates, found.win_rate_per_100_tokens, found.length_bins) == (None,) * 4 + ((),)


def test_both_readings_are_kept_in_terms_of_a_and_b() -> None:
    agreed = combine_orders(Judgement("a", confidence=0.9), Judgement("b", confidence=0.7))
    assert (agreed.verdict, agreed.forward, agreed.backward) == ("a", "a", "a")
    assert agreed.confidence == pytest.approx(0.8)
    apart = combine_orders(Judgement("b", raw="B"), Judgement("b", raw="b"))
    assert (apart.verdict, apart.forward, apart.backward, apart.raw) == ("tie", "b", "a", "B\nb")
    unread = combine_orders(
        Judgement("a", cost=Cost(1)), Judgement(None, "?", raw="x", cost=Cost(2))
    )
    assert (unread.verdict, unread.forward, unread.backward) == (None, "a", None)
    assert (unread.reason, unread.raw, unread.cost) == ("?", "x", Cost(3))
