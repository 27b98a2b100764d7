"""What a judge gave, as one answer per item: whatever it gave, each item has an answer, and what
cannot be read is an abstention that says why. Nothing of it becomes a verdict by chance."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SHOWN = 200

_NUMBER: Any = Real  # typed as Any: mypy holds that a float is no Real, but numpy's scalars are


def answer_each_item(
    given: object, items: Sequence[Item], kind: type[Answer], abstain: Callable[[str], Answer]
) -> list[Answer]:
    """`given` as one answer of its `kind` per item, in order; abstentions in place of all where
    their number is another, since then nobody knows which is whose, and of each other thing."""
    answers, why = as_list(given, len(items))
    if answers is None:
        return [abstain(why) for _ in items]
    return [
        a if isinstance(a, kind) else abstain(f"it answered {format_value(a)}") for a in answers
    ]


def as_list(given: object, count: int) -> tuple[list[Any] | None, str]:
    """(answers, "") or (None, why they are not `count` answers)."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return None, f"the judge gave {format_value(given)} in place of one answer per item"
    answers = list(given)
    if len(answers) != count:
        return None, f"the judge gave {len(answers)} answers to {count} items"
    return answers, ""


def as_number(value: object) -> float | None:
    """A finite number, else None."""
    try:
        number = float(value) if isinstance(value, _NUMBER) else math.nan
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else None


def format_value(value: object) -> str:
    """A value in few characters, whatever it is."""
    try:
        return replace_surrogates(f"{value!r:.{SHOWN}}")
    except Exception as error:  # a repr may do anything
        return f"a {type(value).__name__} ({type(error).__name__} when shown)"


def replace_surrogates(text: str) -> str:
    """A text that files can hold: JSON can spell half a character, and so can user code."""
    return text.encode("utf-8", "replace").decode("utf-8")
