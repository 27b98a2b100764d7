"""Judges: who says how good an answer is, or which of two is better.

There are two kinds, and the round knows no third: a `PointwiseJudge` scores completions one by one,
a `PairwiseJudge` reads pairs. Rules are both, by what their function gives; model judges and people
plug in by implementing one of the protocols.
"""

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, Protocol, TypeVar

from dpo_core.errors import JudgeError
from dpo_core.import_path import load_function, source_hash
from dpo_core.records import VERDICTS, Completion, Judgement, Pair, Score
from labeling.config import JudgeConfig

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_NUMBER: Any = Real  # typed as Any: mypy holds that a float is no Real, but numpy's scalars are
BATCH = 1024
"""Completions or pairs handed to a judge at a time."""


class PointwiseJudge(Protocol):
    source: str

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """One score per completion, in order."""


class PairwiseJudge(Protocol):
    source: str

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement per pair, in order; reads the pair's a as the first answer."""


class RuleScores:
    """A Python function that scores completions."""

    def __init__(self, path: str) -> None:
        self.source = f"rule:{path}"
        self._function = load_function(path)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return _call(self.source, self._function, completions, _as_score)


class RuleVerdicts:
    """A Python function that gives a verdict on each pair."""

    def __init__(self, path: str) -> None:
        self.source = f"rule:{path}"
        self._function = load_function(path)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return _call(self.source, self._function, pairs, _as_judgement)


def pointwise_judge(config: JudgeConfig) -> PointwiseJudge | None:
    """The judge that scores completions, or None when the configured one reads pairs."""
    return RuleScores(config.function) if config.gives == "score" else None


def pairwise_judge(config: JudgeConfig) -> PairwiseJudge | None:
    """The judge that reads pairs, or None when the configured one scores completions."""
    return RuleVerdicts(config.function) if config.gives == "verdict" else None


def judge_functions(config: JudgeConfig) -> dict[str, str]:
    """User code that the judge's answers depend on: import path → hash of its source."""
    return {config.function: source_hash(config.function)}


def judge_both_orders(judge: PairwiseJudge, pairs: Sequence[Pair]) -> Iterator[Judgement]:
    """Each pair judged as it stands and swapped; a verdict that follows the position is a tie."""
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        forward = judge.judge(batch)
        backward = judge.judge([pair.swapped() for pair in batch])
        for first, second in zip(forward, backward, strict=True):
            yield _agreed(first, second)


def score_all(
    judge: PointwiseJudge, completions: Iterable[Completion]
) -> Iterator[tuple[Completion, Score]]:
    """Every completion with its score, batch by batch."""
    batch: list[Completion] = []
    for completion in completions:
        batch.append(completion)
        if len(batch) == BATCH:
            yield from zip(batch, judge.score(batch), strict=True)
            batch = []
    if batch:
        yield from zip(batch, judge.score(batch), strict=True)


def verdict_from_scores(a: Score, b: Score) -> Judgement:
    """The pairwise judgement that two pointwise scores amount to."""
    if a.value is None or b.value is None:
        missing = a if a.value is None else b
        return Judgement(None, f"no score: {missing.reason}")
    if a.value == b.value:
        return Judgement("tie", f"both score {a.value:g}")
    return Judgement("a" if a.value > b.value else "b", f"scores {a.value:g} and {b.value:g}")


_UNSWAPPED = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}


def _agreed(forward: Judgement, backward: Judgement) -> Judgement:
    for judgement in (forward, backward):
        if judgement.verdict is None:
            return judgement
    if forward.verdict == _UNSWAPPED[backward.verdict or "tie"]:
        return forward
    return Judgement("tie", "the verdict follows the position of the answers", raw=forward.raw)


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
