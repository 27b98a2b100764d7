"""Judges by rule: does an answer follow its instructions, and does it say something?

`score` is for training: the share of the instructions that are followed. `followed` is for
evaluation: 1 where all are. Both give 0 to an answer that was cut, that says next to nothing, or
that mostly repeats its prompt. `ifeval` is IFEval's own measure, prompt-level strict, and asks
nothing else.
"""

import re
from collections.abc import Callable, Sequence

from dpo_core.records import Completion, Score
from examples.instructions.checks import Uncheckable, follows

FEWEST_WORDS = 8
"""Fewer say next to nothing; the shortest instruction asks for fewer than 30."""

_RUN_WORDS = 5
_MOST_COPIED = 0.5
_WORD = re.compile(r"\w+")


def score(completions: Sequence[Completion]) -> list[Score]:
    """The share of the instructions that are followed, of answers that say something."""
    return [_judged(c, lambda kept: sum(kept) / len(kept)) for c in completions]


def followed(completions: Sequence[Completion]) -> list[Score]:
    """1 where all instructions are followed by an answer that says something, else 0."""
    return [_judged(c, lambda kept: float(all(kept))) for c in completions]


def ifeval(completions: Sequence[Completion]) -> list[Score]:
    """1 where all instructions are followed, whatever the answer says: IFEval's prompt-level
    strict accuracy."""
    return [_checked(c, lambda kept: float(all(kept))) for c in completions]


def says_something(prompt: str, answer: str) -> bool:
    """Whether the answer has FEWEST_WORDS, and at most half of its runs of five words stand in the
    prompt."""
    words, asked = _WORD.findall(answer.lower()), _WORD.findall(prompt.lower())
    if len(words) < FEWEST_WORDS:
        return False
    runs, known = _runs(words), set(_runs(asked))
    return sum(run in known for run in runs) <= _MOST_COPIED * len(runs)


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + _RUN_WORDS]) for at in range(len(words) - _RUN_WORDS + 1)]


def _judged(completion: Completion, value: Callable[[Sequence[bool]], float]) -> Score:
    """`value` of which instructions are followed, and measures that are reported per round."""
    finished = completion.finished
    says = says_something(_asked(completion), completion.text)
    checked = _checked(completion, value)
    if checked.value is None:
        return checked
    measures = {**checked.measures, "says_something": (float(says), 1.0)}
    if not (finished and says):
        measures |= {"followed": (0.0, 1.0)}
        return Score(0.0, "" if says else "says next to nothing", measures)
    return Score(checked.value, "", measures)


def _checked(completion: Completion, value: Callable[[Sequence[bool]], float]) -> Score:
    row = completion.prompt.extra
    try:
        kept = follows(
            completion.text, row["instruction_id_list"], row["kwargs"], _asked(completion)
        )
    except Uncheckable as error:
        return Score(None, str(error))
    return Score(value(kept), "", {"followed": (float(all(kept)), 1.0)})


def _asked(completion: Completion) -> str:
    prompt = completion.prompt
    return prompt.text if prompt.text is not None else str((prompt.messages or ())[-1]["content"])
