"""A training judge that is ever more pleased alone is told of in words."""

from pathlib import Path
from random import Random
from typing import Any

from synthetic import LENGTH, WORTH, Synthetic, asked, says

N = 80
APART = {"judge": LENGTH, "evaluation_judge": WORTH}


def answers(seed: int, words: int, gain: int = 0) -> dict[str, str]:
    """Answers of worth 0 … 9 by chance, raised by `gain`, and of about so many words."""
    random = Random(seed)
    worths = [random.randrange(10) + gain for _ in range(N)]
    return says(worths, [words + random.randrange(3) for _ in range(N)])


def played(root: Path, *rounds: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    campaign = Synthetic(root, asked(N), answers(0, 6), **more)
    return [campaign.play(texts) for texts in rounds]


def test_longer_answers_that_are_no_better_please_the_training_judge_alone(tmp_path: Path) -> None:
    """Lengths grow by some 6 words, which the training judge rewards; worths are chance."""
    (numbers,) = played(tmp_path, answers(1, 12), **APART)
    said = numbers["warnings"]["over-optimisation"]
    assert "scores the answers higher than the previous policy's (+6" in said
    assert "preferring 100 %" in said and "but the evaluation judge does not: win rate" in said
    assert numbers["training_score_mean"] > numbers["training_score_mean_base"] + 5
    assert "same judge" not in numbers["warnings"]


def test_a_policy_that_was_too_long_before_shows_against_the_base(tmp_path: Path) -> None:
    """The last round is no longer than the one before it, but longer than the base."""
    found = played(tmp_path, answers(1, 6), answers(3, 12), answers(4, 12), **APART)
    assert "over-optimisation" not in found[0]["warnings"]
    assert "higher than the base's" in found[2]["warnings"]["over-optimisation"]


def test_nothing_is_said_where_both_judges_are_pleased(tmp_path: Path) -> None:
    (numbers,) = played(tmp_path, answers(1, 12, gain=9), **APART)
    assert numbers["win_rate_previous_low"] > 0.5
    assert numbers["warnings"] == {}


def test_people_who_agree_ever_less_with_the_judge_are_heard(tmp_path: Path) -> None:
    """90 % of 100 pairs, then 60 %: a fall of 30 ± 11 points at 95 %."""
    campaign = Synthetic(tmp_path, asked(N), answers(0, 6))
    agreement = [{"kappa": {"rule": {"value": 0.5, "n": 100, "agree": a}}} for a in (0.9, 0.6)]
    first = campaign.play(answers(1, 6, gain=3), agreement=agreement[0])
    second = campaign.play(answers(2, 6, gain=6), agreement=agreement[1])
    assert "over-optimisation, by people" not in first["warnings"]
    said = second["warnings"]["over-optimisation, by people"]
    assert "on 60 % of 100 pairs in round 2, on 90 % of 100 in round 1" in said


def test_one_judge_for_both_is_said_once_and_its_scores_are_those_of_training(
    tmp_path: Path,
) -> None:
    first, second = played(tmp_path, answers(1, 6, gain=1), answers(2, 6, gain=2))
    assert "judges the evaluation and the training alike" in first["warnings"]["same judge"]
    assert "same judge" not in second["warnings"]
    for numbers in (first, second):
        assert numbers["training_score_mean"] == numbers["score_mean"]
