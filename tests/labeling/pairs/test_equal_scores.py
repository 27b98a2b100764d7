"""Which prompts can give a pair, and what is said where few can."""

import pytest

from dpo_core.records import Prompt
from labeling.pairs.equal_scores import InformativePrompts


def counted(
    *prompts: tuple[str, list[float | None]], min_margin: float = 0.0
) -> InformativePrompts:
    found = InformativePrompts(min_margin)
    for tags, scores in prompts:
        prompt = Prompt("p", text="Why?", extra={"tags": tags.split()} if tags else {})
        found.add(prompt, {str(number): score for number, score in enumerate(scores)})
    return found


@pytest.mark.parametrize(
    ("scores", "able"),
    [
        ([0.0, 1.0], 1),
        ([0.0, 0.0, 0.0], 0),
        ([1.0, 1.0], 0),
        ([None, 1.0], 0),
        ([None, None], 0),
        ([None, 0.0, 0.5], 1),
    ],
)
def test_answers_that_differ_in_score_can_give_a_pair(
    scores: list[float | None], able: int
) -> None:
    assert counted(("", scores)).informative == able


def test_by_more_than_the_least_margin() -> None:
    prompts = ("", [0.0, 0.5]), ("", [0.0, 0.6])
    assert counted(*prompts, min_margin=0.5).informative == 1


def test_few_are_said_with_the_tags_that_cannot() -> None:
    some, none = [0.0, 1.0], [0.0, 0.0]
    found = counted(
        *[("bullets", some)] * 3,
        *[("quotes short", none)] * 2,
        *[("capitals short", none)] * 3,
    )
    said = found.notice
    assert said is not None and said.startswith("3 of 8 prompts can give a pair")
    assert "tag short (0 of 5), capitals (0 of 3), quotes (0 of 2)." in said
    assert "bullets" not in said


def test_half_is_enough_and_no_scores_say_nothing() -> None:
    assert counted(("a", [0.0, 1.0]), ("b", [0.0, 0.0])).notice is None
    assert counted(("a", [])).notice is None
    assert counted().notice is None


def test_without_tags_none_is_named() -> None:
    said = counted(("", [1.0, 1.0])).notice
    assert said is not None and "tag" not in said


def test_many_tags_are_counted() -> None:
    said = counted(*[(f"tag{n}", [1.0, 1.0]) for n in range(9)]).notice
    assert said is not None and "tag5 (0 of 1) and 3 more." in said
