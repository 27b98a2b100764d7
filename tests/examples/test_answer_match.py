from decimal import Decimal
from typing import Any

import pytest

from dpo_core.records import Completion, Prompt
from examples.answer_match import chat_rows, last_number, score


def completion(text: str, finish_reason: str = "stop", **extra: Any) -> Completion:
    return Completion(
        "c", Prompt("p", text="How many?", extra=extra), text, finish_reason, tokens=9
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("It costs $1,234.50.", "1234.5"),
        ("from 5 to -2", "-2"),
        ("no digits here", None),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == (None if number is None else Decimal(number))


def test_final_number_decides() -> None:
    right, wrong = score(
        [completion("#### 18.00", answer="18"), completion("#### 17", answer="18")]
    )
    assert (right.value, wrong.value) == (1.0, 0.0)
    assert wrong.reason == "expected 18, found 17"


def test_reference_may_be_a_whole_solution() -> None:
    [judged] = score([completion("so 72", answer="48 / 2 = 24 …\n#### 72")])
    assert judged.value == 1.0


def test_cut_answer_is_not_right_even_with_the_number() -> None:
    [judged] = score([completion("first 18", finish_reason="length", answer="18")])
    assert (judged.value, judged.reason) == (0.0, "cut at the length limit")


def test_missing_reference_abstains() -> None:
    [judged] = score([completion("18")])
    assert judged.value is None
    assert "`answer`" in judged.reason


def test_chat_rows_carry_question_and_reference() -> None:
    [row] = chat_rows([{"question": "2 + 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}])
    assert row["answer"] == "4"
    assert row["messages"][0]["role"] == "user"
    assert row["messages"][0]["content"].startswith("2 + 2?")
