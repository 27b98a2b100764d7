"""Slices: planted losses are flagged, chance is not."""

import numpy as np
import pytest

from dpo_core.evaluation import win_rate
from dpo_core.evaluation.slices import slice_win_rates

Row = tuple[str, float, int]


def test_numbers_of_one_slice_by_hand() -> None:
    """Five prompts, all lost: of 2⁵ patterns of signs two are as extreme, p = 2/32."""
    found = slice_win_rates([("topic=a", 0.0, prompt) for prompt in range(5)])["topic=a"]
    assert (found.prompts, found.win_rate) == (5, 0.0)
    assert found.p_value == found.p_adjusted == pytest.approx(2 / 32)
    assert not found.flagged
    rate = win_rate([0.0] * 5)
    assert (found.low, found.high) == (rate.low, rate.high)


def test_benjamini_hochberg_by_hand() -> None:
    """Slices with 6, 8 and 10 lost prompts: p = 2/2⁶, 2/2⁸, 2/2¹⁰, times 3/rank, made monotone."""
    rows = [(f"n={n}", 0.0, prompt) for n in (6, 8, 10) for prompt in range(n)]
    found = slice_win_rates(rows)
    assert [found[f"n={n}"].p_adjusted for n in (6, 8, 10)] == pytest.approx(
        [2 / 2**6, 2 / 2**8 * 3 / 2, 2 / 2**10 * 3]
    )


def test_answers_to_one_prompt_are_one_piece_of_evidence() -> None:
    once = slice_win_rates([("s", 0.0, prompt) for prompt in range(5)])["s"]
    often = slice_win_rates([("s", 0.0, prompt) for prompt in range(5) for _ in range(20)])["s"]
    assert often.p_value == pytest.approx(once.p_value)


def test_a_planted_loss_among_twenty_is_flagged_alone() -> None:
    rng = np.random.default_rng(0)
    rows: list[Row] = [
        (f"topic={n}", float(rng.random() < (0.15 if n == 7 else 0.5)), 100 * n + prompt)
        for n in range(20)
        for prompt in range(40)
    ]
    found = slice_win_rates(rows, resamples=2_000)
    assert [name for name, one in found.items() if one.flagged] == ["topic=7"]


def test_unchanged_policies_are_seldom_flagged() -> None:
    """200 evaluations of 10 slices without any difference: some slice lies below ½ with its whole
    95 % interval in about 1 − 0.975¹⁰ = 22 % of them, but is flagged in at most 2.5 + some %."""
    rng = np.random.default_rng(1)
    alone = flagged = 0
    for _ in range(200):
        rows = [(str(n), float(rng.random() < 0.5), p) for n in range(10) for p in range(30)]
        found = slice_win_rates(rows, resamples=300).values()
        alone += any(one.high < 0.5 for one in found)
        flagged += any(one.flagged for one in found)
    assert alone > 25
    assert flagged <= 10


def test_a_gain_is_not_flagged_and_ties_say_nothing() -> None:
    won = [("won", 1.0, prompt) for prompt in range(50)]
    tied = [("tied", 0.5, prompt) for prompt in range(50)]
    found = slice_win_rates(won + tied)
    assert found["won"].p_adjusted < 0.01 and not found["won"].flagged
    assert found["tied"].p_value == 1.0
    assert slice_win_rates([]) == {}
