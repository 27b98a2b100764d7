"""Several rated answers to one prompt, as in UltraFeedback: the best against the worst.

Answers are objects in `completions` ({"response", "overall_score" or "rating"}), or texts in
`completions`, `responses` or `generations` beside a list `ratings` or `scores`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from labeling.exchange.imported_pair import ImportedPair, UndecidedRow, UnreadableRow, check_pair

_PROMPTS = ("prompt", "instruction")
_ANSWERS = ("completions", "responses", "generations")
_RATINGS = ("ratings", "scores")
_TEXTS = ("response", "text", "content", "completion")
_SCORES = ("rating", "overall_score", "score", "fine-grained_score")

Rated = tuple[float, str]


def fits(row: Mapping[str, object]) -> bool:
    return _first(row, _PROMPTS) is not None and _first(row, _ANSWERS) is not None


def read(row: Mapping[str, object]) -> ImportedPair | UndecidedRow:
    """The best rated answer against the worst. Raises UnreadableRow."""
    prompt, answers = _first(row, _PROMPTS), _first(row, _ANSWERS)
    if not isinstance(prompt, str):
        raise UnreadableRow("the prompt is not text")
    if not isinstance(answers, Sequence) or isinstance(answers, str):
        raise UnreadableRow("the completions are not a list")
    rated = _rated(answers, _first(row, _RATINGS))
    if len(rated) < 2:
        return UndecidedRow("unrated")
    best, worst = max(rated, key=_rating), min(rated, key=_rating)
    if best[0] == worst[0]:
        return UndecidedRow("tie")
    return check_pair(ImportedPair(prompt, best[1], worst[1]))


def _rating(rated: Rated) -> float:
    return rated[0]


def _rated(answers: Sequence[Any], ratings: Any) -> list[Rated]:
    """The answers that have a rating."""
    if ratings is None:
        rated = [_read_object(answer) for answer in answers]
    elif not isinstance(ratings, Sequence) or len(ratings) != len(answers):
        raise UnreadableRow("the row does not have one rating per completion")
    else:
        rated = [(_number(r), a) for r, a in zip(ratings, answers, strict=True)]
    if not all(isinstance(text, str) for _, text in rated):
        raise UnreadableRow("a completion has no text")
    return [(rating, text) for rating, text in rated if rating is not None]


def _read_object(answer: object) -> tuple[float | None, Any]:
    if not isinstance(answer, Mapping):
        raise UnreadableRow("the completions have no ratings")
    return _number(_first(answer, _SCORES)), _first(answer, _TEXTS)


def _first(row: Mapping[str, object], names: Sequence[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _number(value: object) -> float | None:
    """A finite number, possibly as text; None for anything else, such as "N/A"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
