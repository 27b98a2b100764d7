"""Rules: Python functions by import path; an unreadable return value is an abstention."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from dpo_core.errors import JudgeError
from dpo_core.hashing import content_id
from dpo_core.import_path import load_function
from dpo_core.records import VERDICTS, Completion, Judgement, Pair, Prompt, Score
from labeling.judges import answers
from labeling.judges.answers import as_list, as_number, format_value, replace_surrogates
from labeling.judges.config import RuleJudge

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_OURS = (__file__, answers.__file__)


def _no_score(why: str) -> Score:
    return Score(None, why)


def _no_verdict(why: str) -> Judgement:
    return Judgement(None, why)


class RuleScores:
    """A Python function that scores completions."""

    def __init__(self, path: str, source: str | None = None) -> None:
        self.source = source or f"rule:{path}"
        self._function = load_function(path)

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return _call(self.source, self._function, completions, _as_score, _no_score)


class RuleVerdicts:
    """A Python function that gives a verdict on each pair."""

    def __init__(self, path: str, source: str | None = None) -> None:
        self.source = source or f"rule:{path}"
        self._function = load_function(path)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return _call(self.source, self._function, pairs, _as_judgement, _no_verdict)


def _call(
    source: str,
    function: Callable[..., Any],
    items: Sequence[Item],
    read: Callable[[Any], Answer],
    abstain: Callable[[str], Answer],
) -> list[Answer]:
    """The function's answers for `items`, each `read`. Raises JudgeError if it raised."""
    try:
        values, why = as_list(function(list(items)), len(items))
    except Exception as error:
        raise JudgeError(
            f"{source} raised {type(error).__name__}: {error} ({_where(error)})",
            "Fix the function and run the same `ratchet run` again; finished steps are kept.",
        ) from error
    return [abstain(why) for _ in items] if values is None else [read(v) for v in values]


def probe_rule(judge: RuleJudge, prompts: Sequence[Prompt]) -> str | None:
    """What is wrong with a rule, by its answers for made-up items of these prompts; None if
    nothing is. An abstention is an answer."""
    function = load_function(judge.function)
    answers = [_made_up(prompt, text) for prompt in prompts for text in _MADE_UP]
    items: Sequence[Completion | Pair] = answers
    if judge.gives == "verdict":
        twos = zip(answers[::2], answers[1::2], strict=True)
        items = [Pair(a.completion_id, a, b) for a, b in twos]
    try:
        values, why = as_list(function(list(items)), len(items))
    except Exception as error:
        return f"it raised {type(error).__name__}: {error} ({_where(error)})"
    read = _as_judgement if judge.gives == "verdict" else _as_score
    unread = (read(value) for value in values or () if not _abstains(value))
    return why or next((answer.reason for answer in unread if _abstains(answer)), None)


_MADE_UP = ("Yes.", "It depends: there are reasons for it, and reasons against it.")


def _made_up(prompt: Prompt, text: str) -> Completion:
    identity = content_id("made up", [prompt.prompt_id, text])
    return Completion(identity, prompt, text, "stop", len(text.split()) + 1)


def _abstains(value: Any) -> bool:
    if isinstance(value, Score):
        return value.value is None
    if isinstance(value, Judgement):
        return value.verdict is None
    return value is None or (isinstance(value, tuple) and len(value) == 2 and value[0] is None)


def _where(error: Exception) -> str:
    """File and line in the judge's own module, not in the libraries it calls."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename not in _OURS] or frames
    where = [frame for frame in frames if frame.filename == own[0].filename][-1]
    return f"{where.filename}:{where.lineno}"


def _as_score(answer: Any) -> Score:
    if isinstance(answer, Score):
        value, reason, measures = answer.value, answer.reason, answer.measures
    else:
        value, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
        measures = {}
    text = replace_surrogates(str(reason))
    if not _are_measures(measures):
        return Score(None, f"{format_value(measures)} does not map names to two numbers each")
    if value is None:
        return Score(None, text or "the judge abstained", measures)
    number = as_number(value)
    if number is None:
        expected = "a finite number, (number, reason) or Score"
        return Score(None, f"{format_value(answer)} is not {expected}")
    return Score(number, text, measures)


def _as_judgement(answer: Any) -> Judgement:
    if isinstance(answer, Judgement):
        if answer.verdict is None or answer.verdict in VERDICTS:
            return replace(answer, reason=replace_surrogates(str(answer.reason)))
        answer = answer.verdict  # may be any text, so read it like a bare verdict
    verdict, reason = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
    if verdict is None:
        return Judgement(None, replace_surrogates(str(reason)) or "the judge abstained")
    if not isinstance(verdict, str):
        return Judgement(
            None, f"{format_value(answer)} is no verdict, (verdict, reason) or Judgement"
        )
    if verdict in VERDICTS:
        return Judgement(verdict, replace_surrogates(str(reason)))
    return Judgement(
        None, f"unreadable verdict {format_value(verdict)}", raw=replace_surrogates(verdict)
    )


def _are_measures(given: object) -> bool:
    return isinstance(given, Mapping) and all(
        isinstance(name, str)
        and isinstance(share, Sequence)
        and [as_number(number) is not None for number in share] == [True, True]
        for name, share in given.items()
    )
