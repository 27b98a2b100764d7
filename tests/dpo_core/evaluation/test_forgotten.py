"""Prompts that got worse, by hand."""

import pytest

from dpo_core.evaluation.forgotten import ForgottenPrompt, find_forgotten


def test_worse_than_any_earlier_round() -> None:
    found = find_forgotten(
        [
            ("p", 1, 1.0),
            ("p", 2, 0.0),  # better than round 1, worse than round 2
            ("q", 1, 1.0),
            ("q", 2, 0.5),  # never worse, but not better than every round either
            ("r", 1, 0.0),
            ("r", 1, 0.5),  # 0.25 on average, where round 2 stands at 0.5
            ("r", 2, 0.5),
            ("s", 1, 1.0),
            ("s", 2, 1.0),
        ]
    )
    assert found.worse == (ForgottenPrompt("p", 2, 0.0, 1), ForgottenPrompt("r", 1, 0.25, 2))
    assert (found.gained, found.compared) == (1, 4)


def test_equal_answers_are_not_worse() -> None:
    assert find_forgotten([("p", 0, 0.5), ("p", 1, 0.5)]).worse == ()


def test_the_surest_of_equally_bad_ones_first() -> None:
    found = find_forgotten([("a", 1, 0.0), ("b", 1, 0.0), ("b", 1, 0.0)])
    assert [worse.prompt_id for worse in found.worse] == ["b", "a"]


def test_nothing_compared_and_nonsense() -> None:
    assert find_forgotten([]).compared == 0
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        find_forgotten([("p", 1, 2.0)])
