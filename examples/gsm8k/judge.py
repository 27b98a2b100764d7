"""A verifiable judge: the share of a solution's calculations that are right, and its ending.

    score = right annotations / annotations + 0.5 if it ends itself with `#### number`

The judge reads neither the question nor the reference: a solution can be right arithmetic about the
wrong quantities. That is a task a tiny model can improve at; whether the final number is the
reference's is judged by `examples.answer_match`.
"""

import re
from collections.abc import Sequence

from dpo_core.records import Completion, Score
from examples.gsm8k.arithmetic import is_right

WELL_ENDED = 0.5
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_ENDING = re.compile(r"#### -?[0-9][0-9,]*(?:\.[0-9]+)?\s*\Z")


def score(completions: Sequence[Completion]) -> list[Score]:
    """One score from 0 to 1.5 each; the measure `annotations_right` follows the share alone."""
    return [_score(completion) for completion in completions]


def _score(completion: Completion) -> Score:
    annotations = _ANNOTATION.findall(completion.text)
    total, right = len(annotations), sum(map(is_right, annotations))
    ended = _ENDING.search(completion.text) is not None
    share = right / total if total else 0.0
    calculations = f"{right} of {total} calculations right" if total else "shows no calculation"
    return Score(
        share + WELL_ENDED * (completion.finished and ended),
        f"{calculations}; {_how_it_ends(completion.finished, ended)}",
        {"annotations_right": (right, total)} if total else {},
    )


def _how_it_ends(finished: bool, ended: bool) -> str:
    if not finished:
        return "cut at the length limit"
    return "ends with #### number" if ended else "does not end with #### number"
