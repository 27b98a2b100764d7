"""Several judges' scores together: the level of one that abstained is no bonus and no penalty."""

from random import Random

import pytest

from dpo_core.records import Completion, Prompt
from labeling.judges.committee import Committee
from labeling.pairs.config import PairsConfig
from labeling.pairs.selection import select_pairs

STRATEGIES = ("best_worst", "best_second", "best_random", "length_aware", "all_over_margin")
PROMPTS, ANSWERS = 20, 5


def ids(prompt: int) -> list[str]:
    return [f"{prompt}/{n}" for n in range(ANSWERS)]


def scores(seed: int, abstains: float) -> dict[str, float | None]:
    """One source's: nine in ten of about 5, and None in a share of `abstains`."""
    draw = Random(seed)
    found = {c: draw.gauss(5, 2) for p in range(PROMPTS) for c in ids(p)}
    return {c: None if draw.random() < abstains else score for c, score in found.items()}


def selected(committee: Committee, strategy: str) -> list[tuple[str, str]]:
    more = {"margin_per_token": 0.01} if strategy == "length_aware" else {}
    config = PairsConfig.model_validate({"strategy": strategy, "min_margin": 0.2, **more})
    found = []
    for number in range(PROMPTS):
        prompt = Prompt(f"p{number}", text="?")
        answers = [Completion(c, prompt, c, "stop", 10 + n) for n, c in enumerate(ids(number))]
        made = select_pairs(answers, committee.scores(ids(number)), config, seed=1)
        found += [(pair.a, pair.b) for pair in made.pairs]
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_constant_added_to_one_judges_scores_changes_no_pair(strategy: str) -> None:
    members = {"one": scores(1, 0.3), "two": scores(2, 0.3), "three": scores(3, 0.0)}
    weights = {"one": 1.0, "two": 2.0, "three": 0.5}
    found = selected(Committee(members, weights), strategy)
    assert len(found) >= PROMPTS / 2
    for source in members:
        for constant in (-1000.0, 7.0):
            shifted = {c: s if s is None else s + constant for c, s in members[source].items()}
            moved = Committee({**members, source: shifted}, weights)
            assert selected(moved, strategy) == found


def test_where_one_abstains_the_mean_of_its_others_stands_in() -> None:
    # Spreads: of one 0, 2, 4, 2: √2; of two 10, 10, 14, 14 without the one it abstained on: …
    one = {"a": 0.0, "b": 2.0, "c": 4.0, "d": 2.0}
    two = {"a": 10.0, "b": None, "c": 14.0, "d": None}
    spread_one, spread_two = 2**0.5, 2.0
    found = Committee({"one": one, "two": two}, {"one": 1, "two": 1}).scores(list("abcd"))
    expected = {
        "a": (0 / spread_one + 10 / spread_two) / 2,
        "b": (2 / spread_one + 12 / spread_two) / 2,
        "c": (4 / spread_one + 14 / spread_two) / 2,
        "d": (2 / spread_one + 12 / spread_two) / 2,
    }
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_who_abstains_on_a_whole_prompt_does_not_count_there_and_all_give_none() -> None:
    one = {"a": 1.0, "b": 3.0, "c": None, "d": 5.0}
    two = {"a": None, "b": None, "c": None, "d": 100.0}
    committee = Committee({"one": one, "two": two}, {"one": 1, "two": 9})
    found = committee.scores(["a", "b", "c"])
    unit = (8 / 3) ** 0.5  # of 1, 3, 5
    assert found == {"a": pytest.approx(1 / unit), "b": pytest.approx(3 / unit), "c": None}


def test_one_alone_keeps_its_scores_and_none_has_none() -> None:
    assert Committee({"one": {"a": 0.3, "b": None}}, {"one": 7}).scores(["a", "b"]) == {
        "a": 0.3,
        "b": None,
    }
    assert Committee({}, {}).scores(["a"]) == {}
