"""Text statistics, counted by hand."""

import pytest

from dpo_core.evaluation.texts import (
    distinct,
    refusals,
    repetition,
    self_similarity,
    words,
)


def test_words_are_normalised_and_signs_are_none() -> None:
    assert words("  The Cat’s 2 hats_ —  CAFÉ!") == ["the", "cat", "s", "2", "hats", "café"]
    assert words("我们 go") == ["我", "们", "go"]
    assert words("…\x00\n") == []


def test_repetition_is_the_share_of_runs_seen_before() -> None:
    # "a b c d a b c d": runs of four: abcd bcda cdab dabc abcd, one of five again.
    assert repetition(["a", "b", "c", "d", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repetition(["a", "b", "c", "d", "e"]) == 0
    assert repetition(["la"] * 10) == pytest.approx(6 / 7)
    assert repetition(["a", "b", "c"]) is None


def test_distinct_counts_runs_of_all_answers_together() -> None:
    answers = [["a", "b", "a"], ["a", "b"]]
    assert distinct(answers, 1) == pytest.approx(2 / 5)  # a, b of five words
    assert distinct(answers, 2) == pytest.approx(2 / 3)  # ab, ba of ab, ba, ab
    assert distinct([["a"]], 2) is None


def test_self_similarity_is_the_mean_over_pairs_of_samples() -> None:
    same, other, half = ["a", "b", "c"], ["x", "y", "z"], ["a", "b", "x"]
    assert self_similarity([same, same]) == 1
    assert self_similarity([same, other]) == 0
    # {ab, bc} and {ab, bx} share one of three; the mean over the pairs is (1 + 1/3 + 1/3)/3.
    assert self_similarity([same, same, half]) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert self_similarity([same]) is None
    assert self_similarity([same, ["a"]]) is None


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist with this request", True),
        ("As an AI language model, I have no opinion.", True),
        ("I’m unable to answer.", True),
        ("The can opener can't be found.", False),
        ("He is sorry that she left.", False),
        ("", False),
    ],
)
def test_refusals_in_english(text: str, refused: bool) -> None:
    assert refusals([text]) == [refused]


def test_a_pattern_of_ones_own_and_a_broken_one() -> None:
    assert refusals(["Das kann ich nicht", "gern"], "kann ich nicht") == [True, False]
    with pytest.raises(ValueError, match="no regular expression"):
        refusals([], "(")
