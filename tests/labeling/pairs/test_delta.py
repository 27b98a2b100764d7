"""An answer of the policy's with a worse one of another's: which two, and why not."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpo_core.records import Completion, Prompt, order_pair, pair_id
from labeling.pairs.config import PairsConfig
from labeling.pairs.delta import NOT_WORSE, notice, select_against
from labeling.pairs.selection import SelectedPair, Selection

PROMPT = Prompt("p", text="Say a number.")
Scores = Mapping[str, float | None]


def answers(who: str, *texts: str, cut: str = "") -> list[Completion]:
    """Completions o0, o1, … of `who` with these texts, a token per letter."""
    return [
        Completion(
            f"{who}{n}", PROMPT, text, "length" if f"{who}{n}" in cut else "stop", len(text), n
        )
        for n, text in enumerate(texts)
    ]


def select(
    scores: Scores,
    own: tuple[str, ...] = ("a", "b"),
    others: tuple[str, ...] = ("x", "y"),
    cut: str = "",
    **config: object,
) -> Selection:
    sides = answers("o", *own, cut=cut), answers("t", *others, cut=cut)
    return select_against(*sides, scores, PairsConfig.model_validate(config), 7)


def pair(found: Selection) -> set[str]:
    [one] = found.pairs
    return {one.a, one.b}


SCORES = {"o0": 0.25, "o1": 1.0, "t0": 0.75, "t1": -0.5}


def test_the_best_of_the_policy_with_the_worst_of_the_other() -> None:
    a, b = order_pair("o1", "t1")
    assert select(SCORES).pairs == (
        SelectedPair(pair_id("o1", "t1"), "p", a, b, "best_worst", 1.5),
    )
    assert pair(select(SCORES, strategy="best_second")) == {"o1", "t0"}
    seeds = {next(iter(pair(select(SCORES, strategy="best_random")) - {"o1"}))}
    assert seeds <= {"t0", "t1"}


def test_an_answer_that_is_no_worse_is_not_rejected() -> None:
    """However large the difference: its sign counts, which no strategy may turn round."""
    for strategy in ("best_worst", "best_second", "best_random"):
        for best in (2.0, 1.0):
            scores = {"o0": 0.0, "o1": 1.0, "t0": best, "t1": best}
            assert select(scores, strategy=strategy) == Selection((), {NOT_WORSE: 1})


def test_each_with_each_over_the_margin() -> None:
    found = select(SCORES, strategy="all_over_margin", min_margin=0.25)
    assert [{p.a, p.b} for p in found.pairs] == [{"o1", "t1"}, {"o0", "t1"}]
    assert found.dropped == {"margin_too_small": 1, NOT_WORSE: 1}  # 1 − 0.75 and 0.25 − 0.75


def test_length_is_paid_for() -> None:
    """0.75 better and six letters longer, at 0.1 each, counts less than 0.25 better and shorter."""
    scores = {"o0": 1.0, "o1": 0.5, "t0": 0.25}
    own, others = ("longest", "c"), ("x",)
    config = {"strategy": "length_aware", "margin_per_token": 0.1}
    assert pair(select(scores, own, others, **config)) == {"o1", "t0"}
    assert select(scores, own, others, min_margin=0.25, **config).dropped == {"margin_too_small": 1}


def test_a_cut_answer_may_lose_and_never_wins() -> None:
    for truncated, expected in (
        ("drop", {"truncated": 1}),
        ("reject", {"o1", "t1"}),
        ("keep", {"o1", "t1"}),
    ):
        found = select(SCORES, cut="t1", truncated=truncated)
        assert (found.dropped or pair(found)) == expected
    assert pair(select(SCORES, cut="t1", truncated="avoid")) == {"o1", "t0"}
    assert pair(select(SCORES, cut="o1", truncated="reject")) == {"o0", "t1"}
    every = select(SCORES, cut="o1 t1", truncated="reject", strategy="all_over_margin")
    assert [{p.a, p.b} for p in every.pairs] == [{"o0", "t1"}]
    assert every.dropped == {"truncated": 2, NOT_WORSE: 1}


def test_why_there_is_none() -> None:
    assert select({}, own=()).dropped == select({}, others=()).dropped == {"unanswered": 1}
    assert select(SCORES, own=(" ", "")).dropped == {"empty_answer": 1}
    assert select({"o0": 1.0, "o1": None}).dropped == {"no_score": 1}
    assert select(SCORES, own=("x", "x"), others=("x", "x")).dropped == {"identical_texts": 1}
    assert select(SCORES, min_margin=1.5).dropped == {"margin_too_small": 1}


@given(
    st.lists(st.integers(-3, 3), min_size=8, max_size=8),
    st.sampled_from(["best_worst", "best_second", "best_random", "all_over_margin"]),
)
def test_the_policys_answer_always_scores_higher(values: list[int], strategy: str) -> None:
    own, others = ("a", "b", "c", "d"), ("a", "b", "x", "y")
    names = [f"{who}{n}" for who in "ot" for n in range(4)]
    scores = dict(zip(names, map(float, values), strict=True))
    found = select(scores, own, others, strategy=strategy)
    for each in found.pairs:
        better, worse = sorted((each.a, each.b))
        assert (better[0], worse[0]) == ("o", "t") and scores[better] > scores[worse]
        assert each.margin == scores[better] - scores[worse]
    if strategy == "all_over_margin":
        assert len(found.pairs) + sum(found.dropped.values()) == 16


def test_it_is_said_where_the_other_is_mostly_no_worse() -> None:
    assert notice({NOT_WORSE: 4}, 8, "org/weak") is None
    said = notice({NOT_WORSE: 5}, 8, "org/weak")
    assert said is not None and "org/weak" in said and "5 of 8" in said and "weaker" in said


def test_what_names_the_other() -> None:
    for value in ("org/name", {"round": 0}, None):
        PairsConfig.model_validate({"rejected_from": value})
    for value in ("", "model.gguf", True, 3, {"round": -1}, {"round": True}, {"rounds": 1}, []):
        with pytest.raises(ValidationError, match="folder of a model, its id on the hub, or"):
            PairsConfig.model_validate({"rejected_from": value})
