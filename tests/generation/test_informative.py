"""Which prompts are drawn by what earlier rounds showed of them."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.records import Prompt, Split
from generation.informative import PromptHistory, collect_histories, draw_informative
from generation.prompts import Draw


def pool_of(count: int, split: Split = "train") -> list[Prompt]:
    return [Prompt(f"{n:016x}", text=f"question {n}", split=split) for n in range(1, count + 1)]


def kinds(draw: Draw, seen: Mapping[str, PromptHistory]) -> tuple[int, int, int]:
    """(prompts whose answers differed, unseen ones, those whose answers were alike)."""
    found = [seen.get(prompt.prompt_id) for prompt in draw.prompts]
    differed = sum(each is not None and each.informative for each in found)
    return differed, found.count(None), len(found) - differed - found.count(None)


def seen_as(pool: list[Prompt], differed: int, alike: int) -> dict[str, PromptHistory]:
    """The first prompts of the pool were drawn once."""
    ids = [prompt.prompt_id for prompt in pool]
    return {
        **{i: PromptHistory(1, informative=True) for i in ids[:differed]},
        **{i: PromptHistory(1, informative=False) for i in ids[differed : differed + alike]},
    }


@pytest.mark.parametrize(
    ("differed", "alike", "floor", "expected"),
    [
        (0, 0, 0.25, (0, 8, 0)),  # in the first round all are unseen
        (20, 20, 0.25, (6, 2, 0)),  # a quarter of 8
        (20, 20, 0.0, (8, 0, 0)),
        (20, 20, 1.0, (0, 8, 0)),
        (3, 37, 0.25, (3, 5, 0)),  # unseen ones come before those whose answers were alike
        (20, 39, 0.25, (7, 1, 0)),  # one of the 60 is unseen
        (20, 40, 0.25, (8, 0, 0)),
        (3, 57, 0.25, (3, 0, 5)),
    ],
)
def test_what_a_draw_of_eight_is_made_of(
    differed: int, alike: int, floor: float, expected: tuple[int, int, int]
) -> None:
    pool = pool_of(60)
    seen = seen_as(pool, differed, alike)
    draw = draw_informative(pool, 8, 1, seen, floor)
    assert kinds(draw, seen) == expected
    assert draw.dropped == {"not_drawn": 52}


def test_what_the_last_draw_of_a_prompt_showed_counts() -> None:
    rounds = [({"a", "b"}, {"a"}), ({"a", "c"}, {"c"}), ({"b"}, {"b"})]
    assert collect_histories(rounds) == {
        "a": PromptHistory(2, informative=False),
        "b": PromptHistory(2, informative=True),
        "c": PromptHistory(1, informative=True),
    }


def test_those_that_were_drawn_less_often_come_first() -> None:
    pool = pool_of(12)
    seen = {p.prompt_id: PromptHistory(1 + n % 3, informative=True) for n, p in enumerate(pool)}
    draw = draw_informative(pool, 8, 3, seen, 0.25)
    assert sorted(seen[p.prompt_id].draws for p in draw.prompts) == [1] * 4 + [2] * 4


@given(
    st.integers(1, 40),
    st.lists(st.sampled_from(["differed", "alike", "unseen", "gate"]), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_a_draw_is_whole_counted_and_the_same_in_any_order(
    count: int, states: list[str], floor: float, seed: int, random: Any
) -> None:
    pool, seen = [], {}
    for prompt, state in zip(pool_of(len(states)), states, strict=True):
        split: Split = "gate" if state == "gate" else "train"
        pool.append(Prompt(prompt.prompt_id, prompt.text, split=split))
        if state in ("differed", "alike"):
            seen[prompt.prompt_id] = PromptHistory(1, informative=state == "differed")
    draw = draw_informative(pool, count, seed, seen, floor)
    train = len(states) - states.count("gate")
    ids = [prompt.prompt_id for prompt in draw.prompts]
    assert len(ids) == len(set(ids)) == min(count, train)
    assert all(prompt.split == "train" for prompt in draw.prompts)
    assert draw.pool == len(states) == len(ids) + sum(draw.dropped.values())
    differed, unseen, alike = kinds(draw, seen)
    assert unseen >= min(states.count("unseen"), floor * count - 1e-6) or len(ids) < count
    if alike:  # all others come first
        assert (differed, unseen) == (states.count("differed"), states.count("unseen"))
    shuffled = pool[:]
    random.shuffle(shuffled)
    assert draw_informative(shuffled, count, seed, seen, floor) == draw
