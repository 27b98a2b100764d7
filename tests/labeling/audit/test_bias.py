"""A held-out prompt is known in whatever form it comes."""

import pytest

from dpo_core.records import Prompt, prompt_id
from labeling.audit.bias import find_contaminated, find_held_out_overlap
from labeling.audit.config import AuditConfig
from labeling.audit.material import AuditedAnswer, Material, Preference

ANSWER = AuditedAnswer("x", tokens=2, finished=True)
PLAIN = Prompt("h", text="What is two  and two?")


def user(content: str, *before: dict[str, str]) -> Prompt:
    messages = (*before, {"role": "user", "content": content})
    return Prompt(f"id of {content}, {len(messages)}", messages=messages)


def material(prompt: Prompt, held_out: Prompt) -> Material:
    return Material([Preference("p", prompt, ANSWER, ANSWER)], [held_out])


@pytest.mark.parametrize("held_out", [PLAIN, user("what is two and two?")])
@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        (Prompt("t", text="what is TWO and two?"), 1),
        (user("What is two and\ntwo?"), 1),
        (Prompt("t", text="What is two and three?"), 0),
        (user("What is two and two?", {"role": "user", "content": "Hello"}), 0),
    ],
)
def test_in_whatever_form(prompt: Prompt, held_out: Prompt, found: int) -> None:
    assert find_contaminated(material(prompt, held_out), AuditConfig()).count == found


def test_by_its_id_alone() -> None:
    held_out = Prompt(prompt_id(PLAIN.text, None), text=PLAIN.text)
    lost = Prompt(held_out.prompt_id)  # its words are not known
    assert find_contaminated(material(lost, held_out), AuditConfig()).blocks


def test_what_the_system_says_is_no_overlap() -> None:
    system = {"role": "system", "content": "answer in one word and do not explain anything"}
    config = AuditConfig(overlap_words=4)
    assert (
        find_held_out_overlap(material(user("Why?", system), user("How?", system)), config).count
        == 0
    )
    shared = find_held_out_overlap(
        material(user("so what is two and two"), user("what is two and three")), config
    )
    assert shared.count == 1 and "“what is two and”" in shared.examples[0]
