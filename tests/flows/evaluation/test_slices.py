"""Slices by prompt tag, held-out prompts among the trained ones, and how the policy writes."""

from pathlib import Path

import pytest
from synthetic import Synthetic, asked, says

from dpo_core.records import Prompt

N = 120
TOPICS = ["sums", "poems", "law"]


def test_a_slice_that_is_worse_is_told_among_those_that_are_not(tmp_path: Path) -> None:
    """Better on two topics, worse on every poem; half of each topic is tagged hard."""
    topics = [TOPICS[n % 3] for n in range(N)]
    tags = [["hard", "long"] if n % 2 else ["easy"] for n in range(N)]
    prompts = asked(N, topic=topics, tags=tags, id=list(range(N)))
    sections = {"evaluation": {"slices": ["topic", "id", "absent"]}}
    campaign = Synthetic(tmp_path, prompts, says([1] * N), **sections)
    numbers = campaign.play(says([0 if topic == "poems" else 2 for topic in topics]))
    found = numbers["slices"]
    assert set(found) == {f"topic={t}" for t in TOPICS} | {
        f"tags={t}" for t in ("hard", "long", "easy")
    }
    poems, hard = found["topic=poems"], found["tags=hard"]
    assert (poems["prompts"], poems["win_rate"], poems["flagged"]) == (N // 3, 0, True)
    assert (hard["prompts"], hard["flagged"]) == (N // 2, False)
    assert hard["win_rate"] == pytest.approx(2 / 3)
    assert [name for name in numbers["warnings"] if name.startswith("slice")] == [
        "slice topic=poems"
    ]
    said = numbers["warnings"]["slice topic=poems"]
    assert said.startswith("Worse on topic=poems: win rate vs. the previous policy 0.0% [")


def test_without_tags_there_are_no_slices(tmp_path: Path) -> None:
    numbers = Synthetic(tmp_path, asked(N), says([1] * N)).play(says([2] * N))
    assert numbers["slices"] == {}


def test_held_out_prompts_that_share_words_with_trained_ones_are_counted(tmp_path: Path) -> None:
    said = "one two three four five six"
    prompts = [Prompt(f"p{n}", text=f"{n} {w}", split="test") for n, w in enumerate((said, "else"))]
    config = {"overlap_ngram": 4}
    campaign = Synthetic(tmp_path, prompts, says([1, 1]), evaluation=config)
    train = [Prompt("t", text=f"tell me {said} please")]
    numbers = campaign.play(says([1, 1]), train=train)
    assert numbers["overlap"] == {"prompts": 1, "of": 2, "ngram": 4, "examples": ["p0"]}


def test_repetition_variety_and_refusals(tmp_path: Path) -> None:
    """Of 4 answers one refuses and one says 4 words three times: of its 9 runs of 4 words 5 stood
    in it before. Of 30 words 21 are distinct. The base says 4 times the same."""
    base = dict.fromkeys([f"p{n}" for n in range(4)], "red green blue grey black")
    texts = {
        "p0": "I'm sorry, I cannot help with that",
        "p1": "a b c d a b c d a b c d",
        "p2": "one two three four five",
        "p3": "six seven eight nine ten",
    }
    numbers = Synthetic(tmp_path, asked(4), base).play(texts)
    assert (numbers["refusal_share"], numbers["refusal_share_base"]) == (0.25, 0)
    assert numbers["repetition_share"] == pytest.approx((5 / 9) / 4)
    assert numbers["repetition_share_low"] < numbers["repetition_share"]
    assert (numbers["distinct_1_base"], numbers["self_similarity_base"]) == (5 / 20, 1)
    assert (numbers["distinct_1"], numbers["self_similarity"]) == (21 / 30, 0)


def test_refusals_are_found_by_the_pattern_of_the_config(tmp_path: Path) -> None:
    config = {"refusal_pattern": "^NO"}
    campaign = Synthetic(tmp_path, asked(2), says([1, 1]), evaluation=config)
    numbers = campaign.play({"p0": "no thanks", "p1": "I'm sorry, I cannot help"})
    assert numbers["refusal_share"] == 0.5
