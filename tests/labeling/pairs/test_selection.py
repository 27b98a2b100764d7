"""Which two completions of a prompt become a pair, and why others do not."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion, Prompt, order_pair, pair_id
from labeling.pairs.config import PairsConfig, StrategyName
from labeling.pairs.selection import SelectedPair, Selection, select_pairs

PROMPT = Prompt("p", text="Say a number.")
SEED = 7


def answers(*texts: str, cut: str = "") -> list[Completion]:
    """Completions c0, c1, … with these texts, a token per letter; those named in `cut` hit the
    length limit."""
    return [
        Completion(f"c{n}", PROMPT, text, "length" if f"c{n}" in cut else "stop", len(text), n)
        for n, text in enumerate(texts)
    ]


def select(
    completions: list[Completion],
    scores: Mapping[str, float | None],
    seed: int = SEED,
    **config: object,
) -> SelectedPair | str:
    """The one pair of a prompt, or the one reason why there is none."""
    found = all_of(completions, scores, seed, **config)
    assert len(found.pairs) + sum(found.dropped.values()) == 1
    return found.pairs[0] if found.pairs else next(iter(found.dropped))


def all_of(
    completions: list[Completion],
    scores: Mapping[str, float | None],
    seed: int = SEED,
    **config: object,
) -> Selection:
    return select_pairs(completions, scores, PairsConfig.model_validate(config), seed)


def chosen(found: SelectedPair | str) -> set[str]:
    assert isinstance(found, SelectedPair), found
    return {found.a, found.b}


def test_best_against_worst() -> None:
    scores = {"c0": 0.2, "c1": -0.5, "c2": 0.9, "c3": 0.1}
    found = select(answers("s", "t", "u", "v"), scores)
    a, b = order_pair("c1", "c2")
    margin = pytest.approx(1.4)  # 0.9 − (−0.5)
    assert found == SelectedPair(pair_id("c1", "c2"), "p", a, b, "best_worst", margin)


SCORES = {"c0": 0.2, "c1": -0.5, "c2": 0.9, "c3": 0.1}


def test_best_against_second() -> None:
    found = select(answers("s", "t", "u", "v"), SCORES, strategy="best_second")
    a, b = order_pair("c0", "c2")
    margin = pytest.approx(0.7)  # 0.9 − 0.2
    assert found == SelectedPair(pair_id("c0", "c2"), "p", a, b, "best_second", margin)
    # A second one that says the same is no comparison: the next one is.
    assert chosen(select(answers("u", "t", "u", "v"), SCORES, strategy="best_second")) == {
        "c2",
        "c3",
    }
    tied = {"c0": 1.0, "c1": 1.0, "c2": 0.0}
    assert select(answers("s", "t", "u"), tied, strategy="best_second") == "margin_too_small"


def test_best_against_a_random_one_favours_none() -> None:
    completions = answers("s", "t", "u", "v")
    rivals = {name: 0 for name in ("c0", "c1", "c3")}
    for seed in range(300):
        pair = chosen(select(completions, SCORES, seed=seed, strategy="best_random"))
        assert pair == chosen(select(completions[::-1], SCORES, seed=seed, strategy="best_random"))
        (rival,) = pair - {"c2"}
        rivals[rival] += 1
    # 300 draws at 1/3: 100, of binomial spread √(300·1/3·2/3) ≈ 8.2.
    assert all(abs(count - 100) < 5 * 8.2 for count in rivals.values()), rivals


def test_equals_of_the_best_are_as_likely_rivals_as_others() -> None:
    tied = {"c0": 1.0, "c1": 1.0, "c2": 1.0, "c3": 0.0}
    lost = [
        select(answers("s", "t", "u", "v"), tied, seed=seed, strategy="best_random")
        for seed in range(300)
    ].count("margin_too_small")
    assert abs(lost - 200) < 5 * 8.2  # two of the three rivals are equals


def test_a_longer_answer_must_be_better_by_more() -> None:
    scores = {"c0": 1.0, "c1": 0.8, "c2": 0.0}
    completions = answers("s" * 20, "t" * 10, "u" * 9)
    # At 0.05 a token the counted margins are 1 − 11·0.05 = 0.45 for c0 against c2,
    # 0.2 − 10·0.05 = −0.3 for c0 against c1, and 0.8 − 1·0.05 = 0.75 for c1 against c2.
    aware = {"strategy": "length_aware", "margin_per_token": 0.05}
    found = select(completions, scores, **aware)
    a, b = order_pair("c1", "c2")
    plain = pytest.approx(0.8)
    assert found == SelectedPair(pair_id("c1", "c2"), "p", a, b, "length_aware", plain)
    assert select(completions, scores, min_margin=0.76, **aware) == "margin_too_small"
    # At 0.01 they are 0.89, 0.1 and 0.79: the widest is that of the scores again.
    cheap = {"strategy": "length_aware", "margin_per_token": 0.01}
    assert chosen(select(completions, scores, **cheap)) == {"c0", "c2"}


def test_a_shorter_answer_pays_nothing_for_its_length() -> None:
    scores = {"c0": 0.1, "c1": 0.0}
    aware = {"strategy": "length_aware", "margin_per_token": 1.0}
    assert chosen(select(answers("s", "t" * 50), scores, **aware)) == {"c0", "c1"}
    assert select(answers("s" * 50, "t"), scores, **aware) == "margin_too_small"


def pairs_of(found: Selection) -> list[set[str]]:
    return [{each.a, each.b} for each in found.pairs]


def test_all_pairs_over_the_margin_the_widest_first() -> None:
    config = {"strategy": "all_over_margin", "min_margin": 0.35}
    found = all_of(answers("s", "t", "u", "v"), SCORES, **config)
    # Differences: c1–c2 1.4, c2–c3 0.8, c0–c2 0.7, c0–c1 0.7, c1–c3 0.6, c0–c3 0.1.
    assert pairs_of(found)[:2] == [{"c1", "c2"}, {"c2", "c3"}]
    assert sorted(map(sorted, pairs_of(found)[2:])) == [["c0", "c1"], ["c0", "c2"], ["c1", "c3"]]
    assert found.dropped == {"margin_too_small": 1}
    two = all_of(answers("s", "t", "u", "v"), SCORES, max_per_prompt=2, **config)
    assert two.pairs == found.pairs[:2]
    assert two.dropped == {"margin_too_small": 1, "over_max_per_prompt": 3}


def test_all_pairs_are_made_or_counted() -> None:
    scores = {"c0": 0.0, "c1": 0.0, "c2": 1.0, "c3": None, "c4": 3.0}
    completions = answers("same", "same", "u", "v", "w", cut="c4")
    found = all_of(completions, scores, strategy="all_over_margin", truncated="drop")
    # Of 10: 4 with the cut c4, c0–c1 alike, 3 more with the unscored c3; c0–c2 and c1–c2 say the
    # same, so one of them stands for both.
    assert len(found.pairs) == 1 and "c2" in pairs_of(found)[0]
    assert found.dropped == {
        "truncated": 4,
        "identical_texts": 1,
        "no_score": 3,
        "repeated_texts": 1,
    }
    assert all_of(answers("s"), {"c0": 1.0}, strategy="all_over_margin") == Selection((), {})


TEXTS = st.lists(
    st.tuples(st.sampled_from(["s", "tt", "uuu", "vvvv"]), st.sampled_from([None, 0.0, 0.5, 1.0])),
    min_size=1,
    max_size=6,
)


@given(
    st.sampled_from(get_args(StrategyName)),
    TEXTS,
    st.sampled_from(["drop", "avoid", "reject", "keep"]),
    st.sets(st.integers(0, 5)),
    st.randoms(use_true_random=False),
)
def test_no_strategy_pairs_identical_texts_or_looks_at_the_order_of_sampling(
    strategy: StrategyName,
    drawn: list[tuple[str, float | None]],
    truncated: str,
    cut: set[int],
    random: Any,
) -> None:
    completions = answers(*(text for text, _ in drawn), cut=" ".join(f"c{n}" for n in cut))
    scores = {f"c{n}": score for n, (_, score) in enumerate(drawn)}
    config: dict[str, object] = {"strategy": strategy, "truncated": truncated}
    if strategy == "length_aware":
        config["margin_per_token"] = 0.1
    found = all_of(completions, scores, **config)
    shuffled = completions[:]
    random.shuffle(shuffled)
    assert all_of(shuffled, scores, **config) == found

    by_id = {c.completion_id: c for c in completions}
    for pair in found.pairs:
        a, b = by_id[pair.a], by_id[pair.b]
        assert a.text != b.text
        assert (pair.a, pair.b) == order_pair(pair.a, pair.b)
        if strategy != "random":
            assert pair.margin == abs((scores[pair.a] or 0) - (scores[pair.b] or 0)) > 0
        if truncated in ("drop", "avoid"):
            assert a.finished and b.finished
        if truncated == "reject":
            assert a.finished or b.finished
            if a.finished != b.finished and strategy != "random":
                winner, loser = (a, b) if a.finished else (b, a)
                assert (scores[winner.completion_id] or 0) > (scores[loser.completion_id] or 0)
    possible = len(drawn) * (len(drawn) - 1) // 2 if strategy == "all_over_margin" else 1
    assert len(found.pairs) + sum(found.dropped.values()) == possible


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strategy": "length_aware"}, "length_aware needs pairs.margin_per_token"),
        ({"margin_per_token": 0.1}, "belongs to pairs.strategy length_aware (found best_worst)"),
        ({"max_per_prompt": 3}, "belongs to pairs.strategy all_over_margin (found best_worst)"),
        ({"strategy": "random", "min_margin": 0.1}, "remove it, or set the strategy to best_worst"),
    ],
)
def test_options_of_other_strategies_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PairsConfig.model_validate(config)
    assert message in str(caught.value)


def test_margin_must_be_exceeded() -> None:
    scores = {"c0": 0.25, "c1": 0.75}
    assert select(answers("s", "t"), scores, min_margin=0.5) == "margin_too_small"
    assert chosen(select(answers("s", "t"), scores, min_margin=0.49)) == {"c0", "c1"}
    assert select(answers("s", "t"), {"c0": 1.0, "c1": 1.0}) == "margin_too_small"


def test_among_equals_the_hash_decides_whatever_the_order() -> None:
    completions = answers("s", "t", "u", "v")
    scores = {"c0": 1.0, "c1": 1.0, "c2": 0.0, "c3": 0.0}

    def rank(name: str) -> int:
        return derive_seed(SEED, name)

    expected = {max(("c0", "c1"), key=rank), min(("c2", "c3"), key=rank)}
    assert chosen(select(completions, scores)) == expected
    assert chosen(select(completions[::-1], scores)) == expected
    picked = {frozenset(chosen(select(completions, scores, seed=s))) for s in range(40)}
    assert len(picked) == 4  # no completion is favoured over all seeds


def test_abstentions_are_left_out() -> None:
    scores = {"c0": None, "c1": 0.0, "c2": 1.0}
    assert chosen(select(answers("s", "t", "u"), scores)) == {"c1", "c2"}
    assert select(answers("s", "t", "u"), {"c0": None, "c1": None, "c2": 1.0}) == "no_score"


def test_truncated_answers_are_dropped_with_their_pair_unless_kept() -> None:
    scores = {"c0": 0.0, "c1": 1.0, "c2": 0.5}
    assert select(answers("s", "t", "u", cut="c1"), scores) == "truncated"
    assert chosen(select(answers("s", "t", "u", cut="c1"), scores, truncated="keep")) == {
        "c0",
        "c1",
    }
    assert chosen(select(answers("s", "t", "u", cut="c1"), scores, truncated="avoid")) == {
        "c0",
        "c2",
    }
    assert select(answers("s", "t", "u", cut="c1 c2"), scores, truncated="avoid") == "truncated"
    # One that is not in the pair does no harm.
    assert chosen(select(answers("s", "t", "u", cut="c2"), scores)) == {"c0", "c1"}


@pytest.mark.parametrize(
    ("strategy", "scores", "cut", "expected"),
    [
        # c1 has the best score and was cut: c2 is the best that may win.
        ("best_worst", (0.0, 1.0, 0.5), "c1", {"c0", "c2"}),
        ("best_worst", (0.0, 1.0, 0.5), "c0", {"c0", "c1"}),  # the worst loses though it was cut
        ("best_second", (0.0, 1.0, 0.5), "c1", {"c0", "c2"}),
        ("best_worst", (0.0, 1.0, 0.5), "c0 c1", {"c0", "c2"}),
        ("best_worst", (0.0, 1.0, 0.5), "c1 c2", "truncated"),  # c0 beats none of them
        ("best_worst", (0.0, 1.0, 0.5), "c0 c1 c2", "truncated"),
        ("best_worst", (0.5, 0.5, 0.5), "c0 c1", "truncated"),  # a tie is not lost
        # c1 against c2 would be the widest pair, but both were cut.
        ("length_aware", (0.7, 0.6, 0.0), "c1 c2", {"c0", "c2"}),
        ("length_aware", (0.0, 0.6, 0.5), "c1 c2", "truncated"),
        ("random", (0.0, 0.0, 0.0), "c0 c1 c2", "truncated"),
    ],
)
def test_a_cut_answer_that_is_rejected_may_lose_and_never_wins(
    strategy: str, scores: tuple[float, ...], cut: str, expected: set[str] | str
) -> None:
    config: dict[str, object] = {"strategy": strategy, "truncated": "reject"}
    if strategy == "length_aware":
        config["margin_per_token"] = 0.01
    named = {f"c{n}": score for n, score in enumerate(scores)}
    found = select(answers("s", "t", "u", cut=cut), named, **config)
    assert (found if isinstance(found, str) else chosen(found)) == expected


def test_of_all_pairs_those_that_a_cut_answer_would_win_are_counted() -> None:
    completions = answers("s", "t", "u", "v", cut="c2 c3")
    config = {"strategy": "all_over_margin", "truncated": "reject"}
    found = all_of(completions, SCORES, **config)
    # Of c0 0.2, c1 −0.5 and the cut c2 0.9, c3 0.1: c0 beats c1 and c3; c2 would beat c0 and c1, c3
    # would beat c1, and both of c2–c3 were cut.
    assert sorted(map(sorted, pairs_of(found))) == [["c0", "c1"], ["c0", "c3"]]
    assert found.dropped == {"truncated": 4}
    abstained = all_of(completions, {**SCORES, "c3": None}, **config)
    assert abstained.dropped == {"truncated": 3, "no_score": 2}


def test_random_pairs_have_at_most_one_cut_answer() -> None:
    completions = answers("s", "t", "u", cut="c1 c2")
    seen = {
        frozenset(chosen(select(completions, {}, s, strategy="random", truncated="reject")))
        for s in range(40)
    }
    assert seen == {frozenset({"c0", "c1"}), frozenset({"c0", "c2"})}


def test_identical_texts_are_no_pair_even_when_the_judge_tells_them_apart() -> None:
    assert select(answers("same", "same"), {"c0": 0.0, "c1": 1.0}) == "identical_texts"
    assert select(answers("same", "same"), {}, strategy="random") == "identical_texts"


def test_answers_without_text_are_no_pair_even_as_the_best_or_the_worst() -> None:
    scores = {"c0": 0.9, "c1": 0.5, "c2": 0.1, "c3": -1.0}
    for strategy in get_args(StrategyName):
        config = {"margin_per_token": 0.1} if strategy == "length_aware" else {}
        found = all_of(answers("", "t", "u", " \n"), scores, strategy=strategy, **config)
        assert [{pair.a, pair.b} for pair in found.pairs] == [{"c1", "c2"}], strategy
        # Of the six pairs of four answers five have an empty one; else it is one pair per prompt.
        expected = {"empty_answer": 5} if strategy == "all_over_margin" else {}
        assert found.dropped == expected, strategy
    assert select(answers("s", ""), {"c0": 1.0, "c1": 0.0}) == "empty_answer"


def test_a_lone_answer_is_no_pair() -> None:
    assert select(answers("s"), {"c0": 1.0}) == "no_score"
    assert select(answers("s"), {}, strategy="random") == "identical_texts"


def test_random_pairs_have_different_texts_and_depend_on_the_seed_alone() -> None:
    completions = answers("same", "same", "same", "other")
    known = select(completions, {"c0": 1.0, "c1": 1.0, "c2": 1.0, "c3": 3.0}, strategy="random")
    assert isinstance(known, SelectedPair) and known.margin == 2.0
    for seed in range(20):
        found = chosen(select(completions, {}, seed=seed, strategy="random"))
        assert "c3" in found and len(found) == 2
        assert found == chosen(select(completions[::-1], {}, seed=seed, strategy="random"))
    seen = {
        frozenset(chosen(select(completions, {}, seed=s, strategy="random"))) for s in range(40)
    }
    assert len(seen) == 3
