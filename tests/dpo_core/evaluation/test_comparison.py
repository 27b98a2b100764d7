"""The numbers of an evaluation, each derived by hand."""

import math
from typing import Any

import pytest

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import (
    Comparison,
    Decided,
    change_by_prompt,
    describe_answers,
    outcome,
    summarise_kl,
)
from dpo_core.records import Completion, Prompt, Score, Split

CONFIG = EvaluationConfig(bootstrap_resamples=2_000)


def rows(outcomes: dict[str, list[float]]) -> list[Decided]:
    return [Decided(prompt, value) for prompt, values in outcomes.items() for value in values]


def completion(
    name: str, prompt: str, tokens: int, finish: str = "stop", split: Split = "test"
) -> Completion:
    return Completion(name, Prompt(prompt, text=prompt, split=split), "text", finish, tokens)


@pytest.mark.parametrize(
    ("identical", "verdict", "expected"),
    [
        (False, "a", 1.0),
        (False, "b", 0.0),
        (False, "tie", 0.5),
        (False, "both_bad", 0.5),
        (False, None, None),
        (True, "a", 0.5),  # the same words cannot win against themselves
        (True, None, 0.5),
    ],
)
def test_outcome(identical: bool, verdict: Any, expected: float | None) -> None:
    assert outcome(identical, verdict) == expected


def test_win_rate_counts_ties_half_and_answers_alike() -> None:
    found = Comparison(CONFIG).win_rate("w", rows({"p": [1, 0.5], "q": [0], "r": [0.5, 1, 1]}))
    assert found["w"] == pytest.approx((1 + 0.5 + 0 + 0.5 + 1 + 1) / 6)
    assert found["w_low"] < found["w"] < found["w_high"]


def test_intervals_resample_prompts_not_answers() -> None:
    """n prompts, half won, half lost, with m answers each: the answers add no certainty."""
    n, m = 100, 8
    one = {f"p{i}": [float(i % 2)] for i in range(n)}
    many = {prompt: values * m for prompt, values in one.items()}
    compare = Comparison(CONFIG)
    width = {
        name: found["w_high"] - found["w_low"]
        for name, outcomes in (("one", one), ("many", many))
        if (found := compare.win_rate("w", rows(outcomes)))
    }
    expected = 2 * 1.96 * math.sqrt(0.25 / n)
    assert width["one"] == pytest.approx(expected, rel=0.1)
    assert width["many"] == pytest.approx(width["one"], rel=0.1)


def test_no_outcome_gives_no_number() -> None:
    assert Comparison(CONFIG).win_rate("w", []) == {"w": None, "w_low": None, "w_high": None}


def test_at_equal_lengths_where_that_can_be_told() -> None:
    """Longer answers win, shorter ones lose, those of equal length tie: ½ at equal lengths."""
    played = [Decided(f"p{n}", [0.0, 0.5, 1.0][n % 3], n % 3 - 1) for n in range(90)]
    compare = Comparison(CONFIG)
    found = compare.length_controlled("w", played)
    assert found["w"] == pytest.approx(0.5, abs=1e-6)
    assert found["w_low"] < 0.5 < found["w_high"]
    assert found["w_extrapolated"] is False
    unknown = {"w": None, "w_low": None, "w_high": None}
    assert compare.length_controlled("w", []) == {**unknown, "w_extrapolated": None}
    alike = [row._replace(length_difference=3) for row in played]
    assert compare.length_controlled("w", alike) == {**unknown, "w_extrapolated": True}


def test_kl_is_the_mean_log_ratio_with_the_standard_error_of_prompt_means() -> None:
    logratios, groups = [0.1, 0.3, 0.4, 0.6, -0.2, 0.0], ["p", "p", "q", "q", "r", "r"]
    found = summarise_kl("kl", logratios, groups, CONFIG)
    means = [0.2, 0.5, -0.1]  # of p, q, r; their mean is 0.2
    variance = (0**2 + 0.3**2 + 0.3**2) / 2
    assert found["kl"] == pytest.approx(0.2)
    assert found["kl_se"] == pytest.approx(math.sqrt(variance / 3))
    low, high = pytest.approx(min(means)), pytest.approx(max(means))  # the widest there can be
    assert (found["kl_low"], found["kl_high"]) == (low, high)


def test_standard_error_of_one_prompt_is_unknown() -> None:
    assert summarise_kl("kl", [0.1, 0.2], ["p", "p"], CONFIG)["kl_se"] is None


def test_description_reads_test_answers_only() -> None:
    completions = [
        completion("c1", "p", 10),
        completion("c2", "p", 20, "length"),
        completion("c3", "q", 30),
        completion("c4", "q", 40),
        completion("g", "r", 1_000, "length", split="gate"),
    ]
    scores = {
        "c1": Score(1.0, measures={"right": (1, 2)}),
        "c2": Score(None, measures={"right": (0, 0)}),
        "c3": Score(0.25, measures={"right": (3, 3)}),
        "c4": Score(0.0, measures={"right": (0, 3)}),
        "g": Score(-9.0, measures={"right": (100, 100)}),
    }
    found = describe_answers(completions, scores, CONFIG)
    assert found["length_mean"] == pytest.approx((10 + 20 + 30 + 40) / 4)
    assert found["truncated_share"] == pytest.approx(1 / 4)
    assert found["score_mean"] == pytest.approx(
        (1.0 + 0.25 + 0.0) / 3
    )  # the abstention is left out
    assert found["measure_right"] == pytest.approx((1 + 0 + 3 + 0) / (2 + 0 + 3 + 3))
    assert found["length_mean_low"] <= found["length_mean"] <= found["length_mean_high"]


def test_a_measure_of_nothing_is_no_number() -> None:
    scores = {"c": Score(1.0, measures={"right": (0, 0)})}
    found = describe_answers([completion("c", "p", 1)], scores, CONFIG)
    assert found["measure_right"] is None


def test_without_scores_there_is_no_score_mean() -> None:
    found = describe_answers([completion("c", "p", 5)], {}, CONFIG)
    assert (found["length_mean"], found["score_mean"]) == (5.0, None)
    assert not [name for name in found if name.startswith("measure_")]


@pytest.mark.parametrize(("finish", "share"), [("stop", 0.0), ("length", 1.0)])
def test_a_share_of_none_or_all_has_an_interval_with_width(finish: str, share: float) -> None:
    """Wilson's, which ends at z²/(n + z²) where none of n has it: 3.7 % of 100."""
    cut = [completion(f"c{n}", f"p{n}", 5, finish) for n in range(100)]
    found = describe_answers(cut, {}, CONFIG)
    far = 1.959964**2 / (100 + 1.959964**2)
    low, high = (0.0, far) if share == 0 else (1 - far, 1.0)
    assert found["truncated_share"] == share
    assert found["truncated_share_low"] == pytest.approx(low, abs=1e-6)
    assert found["truncated_share_high"] == pytest.approx(high, abs=1e-6)


def test_four_answers_to_each_prompt_tell_no_more_than_one_where_all_are_alike() -> None:
    once = [completion(f"c{n}", f"p{n}", 5) for n in range(100)]
    four = [completion(f"c{n}-{k}", f"p{n}", 5) for n in range(100) for k in range(4)]
    one, other = (
        describe_answers(answers, {}, CONFIG)["truncated_share_high"] for answers in (once, four)
    )
    assert one == pytest.approx(other)


def change(*values: float) -> tuple[float, float, float]:
    found = change_by_prompt([(f"p{n}", value) for n, value in enumerate(values)], CONFIG)
    assert found is not None
    return found.estimate, found.low, found.high


def test_where_nothing_changed_something_may_have() -> None:
    # None of 48: at most z²/(n + z²), with z = 1.96.
    none = 1.96**2 / (48 + 1.96**2)
    assert change(*[0.0] * 48) == pytest.approx((0, -none, none), abs=1e-4)
    assert change_by_prompt([], CONFIG) is None


def test_a_fall_of_few_is_not_clear_and_one_of_many_is() -> None:
    estimate, low, high = change(-1, -1, -1)
    assert (estimate, low) == (-1, -1) and high > 0
    estimate, low, high = change(*[-1.0] * 12, *[0.0] * 36)
    assert estimate == -0.25 and -0.4 < low < -0.25 < high < -0.1
