"""The rule that both sides judge by: answers whose words have small numbers are better.

The score is a mean over words, so two answers hardly ever tie and both sides train on every pair.
"""

from collections.abc import Sequence

from dpo_core.records import Completion


def score(completions: Sequence[Completion]) -> list[float]:
    """Ratchet's judge."""
    return [score_text(completion.text) for completion in completions]


def rewards(completions: Sequence[str], **_: object) -> list[float]:
    """TRL's reward function."""
    return [score_text(text) for text in completions]


def score_text(text: str) -> float:
    """Minus the mean number of the words w4, w5, …; 0 for no words."""
    numbers = [int(word[1:]) for word in text.split()]
    return -sum(numbers) / max(len(numbers), 1)
