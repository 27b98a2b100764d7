"""Your judge: says how good each answer is. The test beside it shows what it is given."""

from dpo_core.records import Completion

MOST_WORDS = 40


def score(completions: list[Completion]) -> list[tuple[float | None, str]]:
    """One (score, reason) for each answer, in order; higher is better.

    An answer that was cut at the length limit loses against all others. `completion.prompt` has the
    prompt, and in `extra` the other fields of its row, such as a reference answer. What cannot be
    judged is left open: (None, "why").
    """
    return [_score(completion) for completion in completions]


def _score(completion: Completion) -> tuple[float | None, str]:
    words = len(completion.text.split())
    if not completion.finished:
        return -10.0, "cut at the length limit"
    if completion.is_empty:
        return -5.0, "empty"
    return -max(0, words - MOST_WORDS) / MOST_WORDS, f"{words} words"
