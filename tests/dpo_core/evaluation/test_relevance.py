"""Where an answer belongs, by log-probs written by hand."""

from dataclasses import replace

import pytest

from dpo_core.evaluation.relevance import AnswerPlacement, draw_others, echo_shares, verdicts

ANSWER = AnswerPlacement(
    "p0", (1, 2, 3, 4, 5, 6), tuple(range(10, 20)), True, False, (-9.0, -12.0, -10.0)
)


def said(n: int, *tokens: int, prompt: tuple[int, ...] = ()) -> AnswerPlacement:
    return replace(ANSWER, prompt_id=f"p{n}", tokens=tokens, prompt=prompt)


def test_an_answer_belongs_to_the_request_that_explains_it_best() -> None:
    assert verdicts([ANSWER]) == ["relevant"]
    assert verdicts([replace(ANSWER, logps=(-10.5, -12.0, -10.0))]) == ["another request"]


def test_two_requests_that_explain_it_equally_well_leave_it_to_neither() -> None:
    assert verdicts([replace(ANSWER, logps=(-9.0, -9.0))]) == ["another request"]


def test_what_says_nothing_is_not_relevant_and_what_has_no_other_request_is_not_known() -> None:
    assert verdicts([replace(ANSWER, logps=(), empty=True)]) == ["empty"]
    assert verdicts([replace(ANSWER, logps=(-9.0,))]) == ["alone"]


def test_runs_of_the_prompt_are_no_words_of_its_own() -> None:
    prompt = (1, 2, 3, 4, 5, 6)
    # Runs 2345, 3456 of the prompt, then 4567, 5678, which are its own.
    half = said(0, 2, 3, 4, 5, 6, 7, 8, prompt=prompt)
    assert echo_shares([half]) == [0.5] and verdicts([half]) == ["relevant"]
    more = said(0, 1, 2, 3, 4, 5, 6, 7, 8, prompt=prompt)
    assert echo_shares([more]) == [0.6] and verdicts([more]) == ["echo"]


def test_nor_are_runs_that_it_repeats() -> None:
    # 1234 2341 3412 4123, then the same four again, then 1234 once more.
    loop = said(0, *(1, 2, 3, 4) * 3)
    assert echo_shares([loop]) == [pytest.approx(5 / 9)] and verdicts([loop]) == ["echo"]


@pytest.mark.parametrize(("answers", "alike", "form"), [(20, 2, 0.0), (20, 3, 1.0), (100, 4, 0.0)])
def test_nor_what_many_answers_say(answers: int, alike: int, form: float) -> None:
    """A twentieth of the answers are many, but never two: two may agree."""
    own = [said(n, *range(100 * n, 100 * n + 6)) for n in range(alike, answers)]
    same = [said(n, *range(-6, 0)) for n in range(alike)]
    assert echo_shares([*same, *own]) == [form] * alike + [0.0] * len(own)


def test_an_answer_of_fewer_tokens_than_a_run_repeats_nothing() -> None:
    assert echo_shares([said(0, 1, 2, 3, prompt=(1, 2, 3))] * 1) == [0.0]


def test_the_other_requests_are_the_same_in_whatever_order_prompts_come() -> None:
    prompts = [f"p{n}" for n in range(20)]
    drawn = draw_others("p3", prompts, 7, seed=1)
    assert len(set(drawn)) == 7 and "p3" not in drawn
    assert draw_others("p3", prompts[::-1], 7, seed=1) == drawn
    assert draw_others("p3", prompts, 7, seed=2) != drawn
    assert sorted(draw_others("p3", prompts[:4], 7, seed=1)) == ["p0", "p1", "p2"]
