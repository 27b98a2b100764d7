"""Verifiable reward for word problems: the last number of an answer equals the reference.

The prompt rows carry the reference in a field `answer`, bare ("72") or as GSM8K writes it (a
solution that ends in "#### 72"). `python -m examples.answer_match train.jsonl > prompts.jsonl`
turns GSM8K's rows into such chat prompts.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from dpo_core.records import Completion, Score

INSTRUCTION = "Reason step by step and end with one line: #### followed by the number alone."
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def score(completions: Sequence[Completion]) -> list[Score]:
    """1 for a right final number, 0 for a wrong, missing or cut one, none without a reference."""
    return [_score(completion) for completion in completions]


def last_number(text: str) -> Decimal | None:
    """The last number in `text`, thousands separators and trailing zeros aside."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def chat_rows(problems: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows {question, answer} as chat prompts with the reference beside them."""
    for problem in problems:
        question = {"role": "user", "content": f"{problem['question']}\n\n{INSTRUCTION}"}
        yield {"messages": [question], "answer": problem["answer"].rpartition("####")[2].strip()}


def _score(completion: Completion) -> Score:
    expected = last_number(str(completion.prompt.extra.get("answer", "")).rpartition("####")[2])
    if expected is None:
        return Score(None, "the prompt's row has no number in its field `answer`")
    given = last_number(completion.text) if completion.finished else None
    reason = "right" if given == expected else f"expected {expected}, found {given}"
    if not completion.finished:
        reason = "cut at the length limit"
    right = float(given == expected)
    return Score(right, reason, {"right_answers": (right, 1.0)})


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        for row in chat_rows(map(json.loads, file)):
            print(json.dumps(row, ensure_ascii=False))
