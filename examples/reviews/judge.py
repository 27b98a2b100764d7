"""The rule that judges reviews: positive, well formed, finished."""

from collections.abc import Sequence

from dpo_core.records import Completion, Score
from examples.reviews.grammar import NEGATIVE, POSITIVE, accepts

REJECTED = -1.5
"""Score of a text that the grammar does not accept: below the most negative review."""


def score(completions: Sequence[Completion]) -> list[Score]:
    """Sentiment of each completion in [−1, 1] if it ends a well-formed review, else REJECTED."""
    return [_score(completion) for completion in completions]


def _score(completion: Completion) -> Score:
    if not completion.finished:
        return _rejected("not finished")
    if not accepts(f"{completion.prompt.text} {completion.text}"):
        return _rejected("not a review of the grammar")
    words = completion.text.split()
    positive = sum(word in POSITIVE for word in words)
    negative = sum(word in NEGATIVE for word in words)
    value = (positive - negative) / (positive + negative)
    return Score(value, f"{positive} positive, {negative} negative", {"accepted": (1, 1)})


def _rejected(reason: str) -> Score:
    return Score(REJECTED, reason, {"accepted": (0, 1)})
