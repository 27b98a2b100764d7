"""Which two completions of a prompt become a pair, and why others do not."""

from collections.abc import Mapping

import pytest

from dpo_core.hashing import derive_seed
from dpo_core.records import Completion, Prompt, ordered, pair_id
from labeling.pairs.config import PairsConfig
from labeling.pairs.selection import Selected, select_pair

PROMPT = Prompt("p", text="Say a number.")
SEED = 7


def answers(*texts: str, cut: str = "") -> list[Completion]:
    """Completions c0, c1, … with these texts; those named in `cut` hit the length limit."""
    return [
        Completion(f"c{n}", PROMPT, text, "length" if f"c{n}" in cut else "stop", 3, n)
        for n, text in enumerate(texts)
    ]


def select(
    completions: list[Completion],
    scores: Mapping[str, float | None],
    seed: int = SEED,
    **config: object,
) -> Selected | str:
    return select_pair(completions, scores, PairsConfig.model_validate(config), seed)


def chosen(found: Selected | str) -> set[str]:
    assert isinstance(found, Selected), found
    return {found.a, found.b}


def test_best_against_worst() -> None:
    scores = {"c0": 0.2, "c1": -0.5, "c2": 0.9, "c3": 0.1}
    found = select(answers("s", "t", "u", "v"), scores)
    a, b = ordered("c1", "c2")
    margin = pytest.approx(1.4)  # 0.9 − (−0.5)
    assert found == Selected(pair_id("c1", "c2"), "p", a, b, "best_worst", margin)


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


def test_identical_texts_are_no_pair_even_when_the_judge_tells_them_apart() -> None:
    assert select(answers("same", "same"), {"c0": 0.0, "c1": 1.0}) == "identical_texts"
    assert select(answers("same", "same"), {}, strategy="random") == "identical_texts"


def test_a_lone_answer_is_no_pair() -> None:
    assert select(answers("s"), {"c0": 1.0}) == "no_score"
    assert select(answers("s"), {}, strategy="random") == "identical_texts"


def test_random_pairs_have_different_texts_and_depend_on_the_seed_alone() -> None:
    completions = answers("same", "same", "same", "other")
    for seed in range(20):
        found = chosen(select(completions, {}, seed=seed, strategy="random"))
        assert "c3" in found and len(found) == 2
        assert found == chosen(select(completions[::-1], {}, seed=seed, strategy="random"))
    seen = {
        frozenset(chosen(select(completions, {}, seed=s, strategy="random"))) for s in range(40)
    }
    assert len(seen) == 3
