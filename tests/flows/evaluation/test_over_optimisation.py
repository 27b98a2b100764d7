"""A training judge that is ever more pleased alone is told of in words."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from synthetic import LENGTH, LONGER, WORTH, Synthetic, asked, says

from dpo_core.tables import read_rows
from flows.evaluation.training_judge import TRAINING_OUTCOMES_FILE

N = 80
APART = {"judge": LENGTH, "evaluation_judge": WORTH}
READ_APART = {"judge": LONGER, "evaluation_judge": WORTH}


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
    assert "preferring 100.0%" in said and "but the evaluation judge does not: win rate" in said
    assert numbers["training_score_mean"] > numbers["training_score_mean_base"] + 5
    assert numbers["training_win_rate_base"] == 1.0, "each is longer"
    assert "same judge" not in numbers["warnings"]


def test_a_training_judge_that_reads_pairs_is_told_of_as_well(tmp_path: Path) -> None:
    """The same answers, of which it always prefers the longer: it gives no scores."""
    (numbers,) = played(tmp_path, answers(1, 12), **READ_APART)
    said = numbers["warnings"]["over-optimisation"]
    assert said.startswith(
        "The training judge prefers the answers to the previous policy's (100.0%"
    )
    assert "but the evaluation judge does not: win rate" in said
    assert numbers["training_score_mean"] is None
    for other in ("previous", "base"):
        name = f"training_win_rate_{other}"
        assert (numbers[name], numbers[f"{name}_high"]) == (1.0, 1.0)
        assert 0.9 < numbers[f"{name}_low"] < 1, "an interval has width"


def test_it_reads_a_few_prompts_and_the_base_and_the_previous_policy_only(tmp_path: Path) -> None:
    few = {"training_judge_prompts": 30}
    campaign = Synthetic(tmp_path, asked(N), answers(0, 6), **READ_APART, evaluation=few)
    campaign.play(answers(1, 12))
    first = read_rows(campaign.made.path(TRAINING_OUTCOMES_FILE))
    numbers = campaign.play(answers(2, 9))  # shorter than the round before, longer than the base
    rows = read_rows(campaign.made.path(TRAINING_OUTCOMES_FILE))
    of = {o: [r for r in rows if r["opponent"] == o] for o in ("previous", "base")}
    assert [len(found) for found in of.values()] == [30, 30]
    assert {r["outcome"] for r in of["base"]} == {1.0}
    assert numbers["training_win_rate_previous"] == sum(r["outcome"] for r in of["previous"]) / 30
    assert numbers["training_win_rate_previous"] < 0.1
    assert {r["prompt_id"] for r in first} == {r["prompt_id"] for r in rows}, "always the same"
    said = numbers["warnings"]["over-optimisation"]
    assert said.startswith("The training judge prefers the answers to the base's (100.0%")


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        ({"function": "told_by_text:first_of_all", "gives": "verdict"}, "the position decides"),
        ({"function": "told_by_text:better", "gives": "verdict"}, "worths are chance to it, too"),
    ],
)
def test_a_training_judge_that_is_not_pleased_is_not_told_of(
    tmp_path: Path, judge: dict[str, str], why: str
) -> None:
    (numbers,) = played(tmp_path, answers(1, 12), judge=judge, evaluation_judge=WORTH)
    assert numbers["training_win_rate_base_low"] <= 0.5, why
    assert "over-optimisation" not in numbers["warnings"]


def test_it_is_not_asked_where_that_is_switched_off(tmp_path: Path) -> None:
    off = {"training_judge": False}
    (numbers,) = played(tmp_path, answers(1, 12), **READ_APART, evaluation=off)
    assert numbers["training_win_rate_base"] is None
    assert "over-optimisation" not in numbers["warnings"]


def test_what_the_training_judge_cannot_read_is_counted(tmp_path: Path) -> None:
    mute = {"judge": {"function": "told_by_text:better", "gives": "verdict"}}
    campaign = Synthetic(tmp_path, asked(N), answers(0, 6), **mute, evaluation_judge=LENGTH)
    campaign.play({**answers(1, 6), "p3": "no number"})
    dropped = campaign.made.entry.dropped
    assert dropped == {"unreadable to the training judge": 2}, "against the base, who is both"


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
    assert "on 60.0% of 100 pairs in round 2, down from 90.0% of 100 in round 1" in said


def test_people_are_heard_where_a_judge_that_reads_pairs_trains_and_evaluates(
    tmp_path: Path,
) -> None:
    better = {"function": "told_by_text:better", "gives": "verdict"}
    campaign = Synthetic(tmp_path, asked(N), answers(0, 6), judge=better)
    agreement = [{"kappa": {"rule": {"value": 0.5, "n": 100, "agree": a}}} for a in (0.9, 0.6)]
    campaign.play(answers(1, 6, gain=3), agreement=agreement[0])
    numbers = campaign.play(answers(2, 6, gain=6), agreement=agreement[1])
    said = numbers["warnings"]["over-optimisation, by people"]
    assert said.startswith("The training judge prefers the answers to the base's")
    assert numbers["training_win_rate_base"] == numbers["win_rate_base"]


def test_pairs_that_several_judges_share_with_people_count_once(tmp_path: Path) -> None:
    """80 %, then 65 % of 100 pairs: −15 ± 12.2 points, with either of two judges. Of 60 pairs it
    is −15 ± 15.7, of which 120 would make −15 ± 11.1."""
    for pairs, heard in ((100, True), (60, False)):
        campaign = Synthetic(tmp_path / str(pairs), asked(N), answers(0, 6))
        for gain, agree in ((3, 0.8), (6, 0.65)):
            found = {"value": 0.5, "n": pairs, "agree": agree}
            numbers = campaign.play(
                answers(gain, 6, gain=gain), agreement={"kappa": {"llm": found, "rule": found}}
            )
        assert ("over-optimisation, by people" in numbers["warnings"]) == heard


def test_one_judge_for_both_is_said_once_and_its_scores_are_those_of_training(
    tmp_path: Path,
) -> None:
    first, second = played(tmp_path, answers(1, 6, gain=1), answers(2, 6, gain=2))
    assert "Training and evaluation share the judge" in first["warnings"]["same judge"]
    assert "same judge" not in second["warnings"]
    for numbers in (first, second):
        assert numbers["training_score_mean"] == numbers["score_mean"]
