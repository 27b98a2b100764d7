"""Prompts with verifiable instructions, and the judges that check them."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from dpo_core.records import Completion, Prompt
from examples.instructions import judge, prompts
from examples.instructions.checks import Uncheckable, follows
from examples.instructions.kinds import HARD, MIDDLE, UNSEEN

WISE = "Start with small steps and write down what went well each evening so that you see it grow"
FOLLOWING = {
    "length_constraints:number_words": WISE,
    "punctuation:no_comma": WISE,
    "detectable_format:title": f"<<Small steps>>\n{WISE}",
    "detectable_format:number_highlighted_sections": f"*Start small* and go on. *Rest* too. {WISE}",
    "detectable_content:postscript": f"{WISE}.\nP.S. Rest on Sundays.",
    "change_case:english_lowercase": WISE.lower(),
    "startend:quotation": f'"{WISE}"',
    "detectable_format:json_format": f'{{"advice": "{WISE}"}}',
}


@pytest.mark.parametrize(
    "rows, fewest", [(prompts.trained, 6_000), (prompts.everything, 6_000), (prompts.unseen, 500)]
)
def test_prompts_are_distinct_and_say_what_is_checked(rows: Callable[[], Any], fewest: int) -> None:
    made = list(rows())
    assert len(made) >= fewest
    assert len({row["messages"][0]["content"].lower() for row in made}) == len(made)
    assert made[:50] == list(islice(rows(), 50))  # drawn, and yet the same each time
    for row in made:
        assert len(row["instruction_id_list"]) == len(row["kwargs"]) == len(row["tags"]) <= 2
        assert row["messages"][0]["content"].startswith(row["group"])


def test_what_is_asked_never_overlaps_with_what_is_trained() -> None:
    assert not set(UNSEEN) & {*MIDDLE, *HARD}
    kinds = Counter(kind for row in prompts.trained() for kind in row["instruction_id_list"])
    assert set(kinds) == set(MIDDLE)


def test_every_instruction_can_be_checked() -> None:
    shown = set()
    for row in islice(prompts.everything(), 0, None, 97):
        asked = row["messages"][0]["content"]
        ids, arguments = row["instruction_id_list"], row["kwargs"]
        follows("no", ids, arguments, asked)
        for name, given in zip(ids, arguments, strict=True):
            if name in FOLLOWING:
                assert follows(FOLLOWING[name], [name], [given], asked) == [True], name
                shown.add(name)
    assert shown == set(FOLLOWING)


def test_sentences_need_no_download() -> None:
    sentences = "length_constraints:number_sentences"
    asked = {"relation": "less than", "num_sentences": 3}
    two, three = "Dr. Smith went home. He slept.", "Dr. Smith went home. He slept. It rained."
    assert follows(two, [sentences], [asked], "") == [True]
    assert follows(three, [sentences], [asked], "") == [False]
    capitals = {"capital_relation": "at least", "capital_frequency": 2}
    assert follows("We saw ROME and PARIS.", ["change_case:capital_word_frequency"], [capitals], "")


def test_an_unknown_instruction_is_never_passed() -> None:
    with pytest.raises(Uncheckable, match="no:such"):
        follows(WISE, ["no:such"], [{}], "")


def _completion(text: str, *ids: str, finish: str = "stop", request: str = "Advise me.") -> Any:
    messages = ({"role": "user", "content": request},)
    extra = {"instruction_id_list": list(ids), "kwargs": [{} for _ in ids]}
    return Completion("c", Prompt("p", messages=messages, extra=extra), text, finish, 20)


COMMA, TITLE = "punctuation:no_comma", "detectable_format:title"


@pytest.mark.parametrize(
    "completion, share, whole",
    [
        (_completion(WISE, COMMA), 1.0, 1.0),
        (_completion(WISE, COMMA, TITLE), 0.5, 0.0),
        (_completion(f"<<Steps>> {WISE}", COMMA, TITLE), 1.0, 1.0),
        (_completion(WISE, COMMA, finish="length"), 0.0, 0.0),
        (_completion("Yes.", COMMA), 0.0, 0.0),
        (_completion(WISE, COMMA, request=f"Repeat this: {WISE}"), 0.0, 0.0),
    ],
    ids=["follows", "one of two", "both", "cut", "says nothing", "copies"],
)
def test_scores(completion: Completion, share: float, whole: float) -> None:
    assert judge.score([completion])[0].value == share
    [found] = judge.followed([completion])
    assert found.value == whole
    assert found.measures["followed"] == (whole, 1.0)


def test_what_cannot_be_checked_is_an_abstention() -> None:
    for function in (judge.score, judge.followed, judge.ifeval):
        [found] = function([_completion(WISE, "no:such")])
        assert (found.value, "no:such" in found.reason) == (None, True)


def test_ifeval_asks_nothing_else() -> None:
    assert judge.ifeval([_completion("Yes", COMMA, finish="length")])[0].value == 1.0
