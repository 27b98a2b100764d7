"""Rules: Python functions by import path, read strictly."""

import math
import traceback
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypeVar

from dpo_core.errors import JudgeError
from dpo_core.import_path import load_function
from dpo_core.records import VERDICTS, Completion, Judgement, Pair, Score

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_NUMBER: Any = Real  # typed as Any: mypy holds that a float is no Real, but numpy's scalars are


class RuleScores:
    """A Python function that scores completions."""

    def __init__(self, path: str, source: str | None = None) -> None:
        self.source = source or f"rule:{path}"
        self._function = load_function(path)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return _call(self.source, self._function, completions, _as_score)


class RuleVerdicts:
    """A Python function that gives a verdict on each pair."""

    def __init__(self, path: str, source: str | None = None) -> None:
        self.source = source or f"rule:{path}"
        self._function = load_function(path)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return _call(self.source, self._function, pairs, _as_judgement)


def _call(
    source: str,
    function: Callable[..., Any],
    items: Sequence[Item],
    read: Callable[[Any, str], Answer],
) -> list[Answer]:
    """The function's answers for `items`, each read by `read`. Raises JudgeError."""
    try:
        given = function(list(items))
        answers = list(given) if given is not None else None
    except Exception as error:
        raise JudgeError(
            f"{source} raised {type(error).__name__}: {error} ({_where(error)})",
            "Mend the function and type the same `ratchet run` again; finished steps are kept.",
        ) from error
    if answers is None:
        raise JudgeError(f"{source} returned None", "It must return one answer per item.")
    if len(answers) != len(items):
        raise JudgeError(
            f"{source} got {len(items)} items and gave {len(answers)} answers",
            "It must return exactly one answer per item, in their order.",
        )
    return [read(answer, source) for answer in answers]


def _where(error: Exception) -> str:
    """File and line in the judge's own module: deeper ones are those of libraries it calls."""
    frames = traceback.extract_tb(error.__traceback__)
    own = frames[1:2] or frames
    where = [frame for frame in frames if frame.filename == own[0].filename][-1]
    return f"{where.filename}:{where.lineno}"


def _as_score(answer: Any, source: str) -> Score:
    if isinstance(answer, Score):
        value, reason, measures = answer.value, answer.reason, answer.measures
    else:
        value, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
        measures = {}
    if value is None:
        return Score(None, str(reason) or "the judge abstained", measures)
    try:
        number = float(value) if isinstance(value, _NUMBER) else None
    except OverflowError:
        number = None
    if number is None:
        raise _out_of_contract(source, answer, "a number, (number, reason) or a Score")
    if not math.isfinite(number):
        return Score(None, f"score is not finite: {number}", measures)
    return Score(number, str(reason), measures)


def _as_judgement(answer: Any, source: str) -> Judgement:
    if isinstance(answer, Judgement):
        if answer.verdict is None or answer.verdict in VERDICTS:
            return answer
        answer = answer.verdict  # read like a bare one: it may be any text
    verdict, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
    if verdict is None:
        return Judgement(None, str(reason) or "the judge abstained")
    if verdict in VERDICTS:
        return Judgement(verdict, str(reason))
    if isinstance(verdict, str):
        return Judgement(None, f"unreadable verdict {verdict!r}", raw=verdict)
    raise _out_of_contract(
        source, answer, "one of a, b, tie, both_bad, (verdict, reason) or a Judgement"
    )


def _out_of_contract(source: str, answer: Any, expected: str) -> JudgeError:
    return JudgeError(f"{source} answered {answer!r:.200}", f"Expected {expected}.")
