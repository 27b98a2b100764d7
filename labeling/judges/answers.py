"""Read a judge's return value strictly: one answer per item, an abstention for what is unreadable.

An abstention carries its reason. Nothing unreadable ever becomes a verdict.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SHOWN = 200
"""Most characters of a value in a message."""

_NUMBER: Any = Real  # typed as Any: mypy says a float is no Real, and numpy scalars are Real


def answer_each_item(
    given: object, items: Sequence[Item], kind: type[Answer], abstain: Callable[[str], Answer]
) -> list[Answer]:
    """One answer per item, in order.

    Anything in `given` that is not of type `kind` becomes an abstention. If the number of answers
    is wrong, all become abstentions, since no answer can be assigned to its item.

    Args:
        given: what the judge returned.
        abstain: makes an abstention from a reason.
    """
    answers, why = as_list(given, len(items))
    if answers is None:
        return [abstain(why) for _ in items]
    return [
        a if isinstance(a, kind) else abstain(f"it answered {format_value(a)}") for a in answers
    ]


def as_list(given: object, count: int) -> tuple[list[Any] | None, str]:
    """(answers, "") for an iterable of `count` answers, else (None, reason)."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        return None, f"the judge returned {format_value(given)} instead of one answer per item"
    answers = list(given)
    if len(answers) != count:
        return None, f"the judge returned {len(answers)} answers for {count} items"
    return answers, ""


def as_number(value: object) -> float | None:
    """`value` as a finite float, or None."""
    try:
        number = float(value) if isinstance(value, _NUMBER) else math.nan
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else None


def format_value(value: object) -> str:
    """The repr of any value, cut at SHOWN characters."""
    try:
        return replace_surrogates(f"{value!r:.{SHOWN}}")
    except Exception as error:  # repr is user code
        return f"a {type(value).__name__} (its repr raises {type(error).__name__})"


def replace_surrogates(text: str) -> str:
    """`text` with lone surrogates replaced by "?", so that it can be encoded as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
