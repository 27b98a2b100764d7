"""How many prompts are drawn until enough pairs are there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.pairs.draw_sizes import (
    DrawProgress,
    PairGoal,
    next_draw,
    outcome,
    shortfall_message,
    stop_reason,
)

GOAL = PairGoal(pairs=64, budget_tokens=100_000, per_draw=80, tokens_per_prompt=400)


@pytest.mark.parametrize(
    ("so_far", "expected"),
    [
        (DrawProgress(), 80),
        # A pair of every other prompt: 44 are lacking, 88 prompts, at most 80 at a time.
        (DrawProgress(40, 8_000, 20), 80),
        (DrawProgress(80, 16_000, 40), 48),  # 24 are lacking
        (
            DrawProgress(80, 16_000, 63),
            10,
        ),  # one is lacking, and a draw is an eighth of 80 at least
        (DrawProgress(80, 16_000, 0), 80),  # nothing is known of the rate
        # 200 tokens a prompt so far, and 4,000 left.
        (DrawProgress(480, 96_000, 20), 20),
        (DrawProgress(499, 99_999, 20), 1),
    ],
)
def test_as_many_as_the_lacking_pairs_take_and_the_budget_pays(
    so_far: DrawProgress, expected: int
) -> None:
    assert stop_reason(GOAL, so_far) is None
    assert next_draw(GOAL, so_far) == expected


def test_the_first_draw_keeps_within_the_budget_however_long_answers_are() -> None:
    assert (
        next_draw(PairGoal(64, 4_399, 80, 400), DrawProgress()) == 10
    )  # 10 · 400 tokens, 11 are too many
    assert next_draw(PairGoal(64, 10, 80, 400), DrawProgress()) == 1


@pytest.mark.parametrize(
    ("so_far", "why", "said"),
    [
        (DrawProgress(80, 16_000, 64), "pairs", None),
        (DrawProgress(80, 100_000, 64, used_up=True), "pairs", None),
        (
            DrawProgress(80, 100_000, 63),
            "budget",
            "63 of 64 pairs after 80 prompts: sampling.budget_tok",
        ),
        (DrawProgress(80, 16_000, 63, used_up=True), "pool", "no prompts are left to draw."),
        (DrawProgress(80, 0, 0), "length", "all of them are too long to be answered."),
    ],
)
def test_drawing_ends_with_a_reason(so_far: DrawProgress, why: str, said: str | None) -> None:
    ended = stop_reason(GOAL, so_far)
    assert ended == why
    sentence = shortfall_message(outcome(GOAL, so_far, ended))
    assert sentence is None if said is None else said in str(sentence)
    assert shortfall_message({}) is None


@given(
    st.builds(
        PairGoal,
        pairs=st.integers(1, 300),
        budget_tokens=st.integers(1, 50_000),
        per_draw=st.integers(1, 64),
        tokens_per_prompt=st.integers(8, 400),
    ),
    st.floats(0, 1),
    st.floats(0.01, 1),
    st.integers(0, 2_000),
)
def test_drawing_ends_and_spends_little_more_than_its_budget(
    goal: PairGoal, rate: float, length: float, pool: int
) -> None:
    so_far, draws = DrawProgress(), 0
    while stop_reason(goal, so_far) is None:
        wanted = next_draw(goal, so_far)
        assert 1 <= wanted <= goal.per_draw
        drawn = min(wanted, pool - so_far.prompts)
        prompts = so_far.prompts + drawn
        tokens = int(prompts * max(1, length * goal.tokens_per_prompt))
        so_far = DrawProgress(prompts, tokens, int(prompts * rate), used_up=drawn < wanted)
        draws += 1
    # Of answers as long as those before, one prompt's at most are beyond the budget.
    assert so_far.tokens <= goal.budget_tokens + goal.tokens_per_prompt
    # A draw is an eighth of the largest at least, but for those that the budget cuts short: each of
    # these leaves less than one prompt, by rounding, and so ends soon.
    assert draws <= 8 * (so_far.prompts / goal.per_draw + 1) + 3
    assert so_far.pairs <= goal.pairs + goal.per_draw
