"""What earlier rounds did better is found and told in words."""

from pathlib import Path

from synthetic import Synthetic, asked, says

from dpo_core.tables import read_rows

N = 90


def test_a_planted_circle_of_rounds_is_told(tmp_path: Path) -> None:
    """On each third of the prompts the order is another one: (1, 2, 3), (2, 3, 1), (3, 1, 2). So
    1 beats 2 on two thirds of the prompts, 2 beats 3 and 3 beats 1 as well, ± 10 points."""
    campaign = Synthetic(tmp_path, asked(N), says([0] * N))
    worths = {1: (3, 1, 2), 2: (2, 3, 1), 3: (1, 2, 3)}
    for worth in worths.values():
        numbers = campaign.play(says([worth[n % 3] for n in range(N)]))
    assert numbers["cycles"] == [[3, 1, 2]]
    said = numbers["warnings"]["cycle 3 1 2"]
    assert said.startswith("Round 3 beats round 1, round 1 beats round 2, round 2 beats round 3:")
    estimates = {name: found["estimate"] for name, found in numbers["ratings"].items()}
    assert max(estimates.values()) - min(estimates[str(n)] for n in worths) < 0.2


def test_rounds_in_an_order_make_no_circle(tmp_path: Path) -> None:
    campaign = Synthetic(tmp_path, asked(N), says([0] * N))
    for number in (1, 2, 3):
        numbers = campaign.play(says([number] * N))
    assert numbers["cycles"] == []
    assert [name for name in numbers["warnings"] if name.startswith("cycle")] == []


def test_a_prompt_that_got_worse_since_an_earlier_round_is_listed(tmp_path: Path) -> None:
    """Round 1 knows p0, which round 2 forgets; the base knew p1, which both forget; p2 is as ever,
    and all the others are better than before."""
    campaign = Synthetic(tmp_path, asked(N), says([1, 5, 1] + [1] * (N - 3)))
    first = campaign.play(says([9, 1, 1] + [2] * (N - 3)))
    second = campaign.play(says([1, 1, 1] + [3] * (N - 3)))
    assert (first["forgotten"]["count"], first["forgotten"]["gained"]) == (1, N - 2)
    found = second["forgotten"]
    assert (found["count"], found["compared"], found["gained"]) == (2, N, N - 3)
    assert found["sentence"] == (
        f"2 of {N} test prompts are answered worse than in some earlier round, {N - 3} better than "
        "in all of them."
    )
    assert {(e["prompt_id"], e["better_in"]) for e in found["examples"]} == {("p0", 1), ("p1", 0)}
    rows = read_rows(campaign.made.path("forgotten.parquet"))
    assert {(row["prompt"], row["outcome"]) for row in rows} == {("prompt 0", 0), ("prompt 1", 0)}
