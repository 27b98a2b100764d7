"""All rounds' policies on one scale, by the scores of the same prompts."""

import math
from pathlib import Path

import pytest
from synthetic import Synthetic, asked, says

from dpo_core.tables import read_rows

N = 40


def won(share: float) -> list[float]:
    """Worths that beat 1 on this share of the prompts and lose on the others."""
    return [2 if n < share * N else 0 for n in range(N)]


def test_ratings_of_all_rounds_come_from_matches_between_all_of_them(tmp_path: Path) -> None:
    """Round 1 beats the base on 3/4 of the prompts, round 2 ties with round 1 on all."""
    campaign = Synthetic(tmp_path, asked(N), says([1] * N))
    first = campaign.play(says(won(0.75)))
    second = campaign.play(says(won(0.75)))
    third = campaign.play(says(won(0.75)), promoted=False)
    assert first["ratings"]["0"] == {"estimate": 0, "low": 0, "high": 0}
    assert first["rating"] == pytest.approx(math.log(3), abs=0.02)  # a ridge apart
    for found in (second, third):
        assert found["rating"] == pytest.approx(math.log(3), abs=0.02)
        assert found["rating_low"] < found["rating"] < found["rating_high"]
    assert list(third["ratings"]) == ["0", "1", "2", "3"]
    rows = read_rows(campaign.made.path("matches.parquet"))
    assert {(row["first"], row["second"]) for row in rows} == {(3, 2), (3, 0), (3, 1)}
    assert len(rows) == 3 * N


def test_a_judge_that_reads_pairs_reads_earlier_rounds_only_where_asked(tmp_path: Path) -> None:
    judge = {"function": "told_by_text:better", "gives": "verdict"}
    for opponents, expected in (("previous", {(3, 2), (3, 0)}), ("all", {(3, 2), (3, 0), (3, 1)})):
        campaign = Synthetic(
            tmp_path / opponents,
            asked(N),
            says([1] * N),
            judge=judge,
            evaluation={"opponents": opponents},
        )
        for share in (0.5, 0.6, 0.7):
            numbers = campaign.play(says(won(share)))
        rows = read_rows(campaign.made.path("matches.parquet"))
        assert {(row["first"], row["second"]) for row in rows} == expected
        assert list(numbers["ratings"]) == ["0", "1", "2", "3"]
        assert numbers["win_rate_base"] == 0.7


def test_a_win_that_is_only_longer_is_no_win_at_equal_lengths(tmp_path: Path) -> None:
    """Longer answers win and shorter ones lose, whichever policy wrote them; three of four of
    the new policy's are longer."""
    longer = [n % 4 > 0 for n in range(N)]
    base = says([1] * N, [8] * N)
    texts = says([2 if more else 0 for more in longer], [12 if more else 4 for more in longer])
    numbers = Synthetic(tmp_path, asked(N), base).play(texts)
    assert numbers["win_rate_previous"] == pytest.approx(sum(longer) / N)
    assert numbers["win_rate_previous_low"] > 0.5
    assert numbers["lc_win_rate_previous_low"] < 0.5 < numbers["lc_win_rate_previous_high"]
    assert numbers["lc_win_rate_base"] == numbers["lc_win_rate_previous"]
    assert numbers["lc_win_rate_gate"] is None, "there are no gate prompts here"


def test_kl_per_completion_and_per_token_to_each_other_policy(tmp_path: Path) -> None:
    """Each answer is 0.5 nats likelier under the policy than under others; half have 4 tokens,
    half 6, so that there are 0.1 nats per token."""
    words = [4, 6] * (N // 2)
    campaign = Synthetic(tmp_path, asked(N), says([1] * N))
    numbers = campaign.play(says([1] * N, words), logratio=0.5)
    for name in ("previous", "reference", "base"):
        assert numbers[f"kl_{name}_nats"] == pytest.approx(0.5)
        assert numbers[f"kl_{name}_nats_per_token"] == pytest.approx(0.1)
        # (0.5 − 0.1·4)² = (0.5 − 0.1·6)² = 0.01 for each of 40 prompts, and 200 tokens
        error = math.sqrt(N / (N - 1) * N * 0.01) / 200
        assert numbers[f"kl_{name}_nats_per_token_se"] == pytest.approx(error)
        assert numbers[f"kl_{name}_nats_se"] == pytest.approx(0, abs=1e-6)
