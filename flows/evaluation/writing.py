"""How the policy writes: repetition, variety, likeness of its answers, refusals."""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from dpo_core.evaluation.comparison import ByPrompt, share_by_prompt
from dpo_core.evaluation.intervals import columns
from dpo_core.evaluation.texts import (
    REFUSAL,
    distinct,
    refusals,
    repetition,
    self_similarity,
    words,
)
from dpo_core.records import Completion
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers

LIKENED = 64
"""Answers that are compared with each other where every prompt has one."""


def writing(ours: HeldOutAnswers, base: HeldOutAnswers, config: HeldOutConfig) -> dict[str, Any]:
    """Numbers of the test answers, those that are means over answers with their intervals, and the
    base's as <number>_base. None where no answer has words enough."""
    numbers: dict[str, Any] = {}
    for name, values in by_answer(ours.test(), config).items():
        numbers |= columns(name, share_by_prompt(values, config))
    numbers |= of_all(ours.test())
    of_base = {
        name: fmean(value for _, value in values) if values else None
        for name, values in by_answer(base.test(), config).items()
    }
    return numbers | {f"{k}_base": v for k, v in {**of_base, **of_all(base.test())}.items()}


def by_answer(test: Sequence[Completion], config: HeldOutConfig) -> dict[str, ByPrompt]:
    """What each answer has of repetition and refusal; those without words enough are left out."""
    repeated = ((c.prompt.prompt_id, repetition(words(c.text))) for c in test)
    refused = refusals([c.text for c in test], config.refusal_pattern or REFUSAL)
    return {
        "repetition_share": [(prompt, value) for prompt, value in repeated if value is not None],
        "refusal_share": [
            (c.prompt.prompt_id, float(r)) for c, r in zip(test, refused, strict=True)
        ],
    }


def of_all(test: Sequence[Completion]) -> dict[str, float | None]:
    """They have no interval: a resample repeats answers, so that it never varies as much."""
    said = [words(c.text) for c in test]
    return {
        "distinct_1": distinct(said, 1),
        "distinct_2": distinct(said, 2),
        "self_similarity": _likeness(test, said),
    }


def _likeness(test: Sequence[Completion], said: Sequence[Sequence[str]]) -> float | None:
    """Of answers to one prompt where there are several, otherwise of the first few to different
    ones: a policy that says the same to everybody shows in both."""
    in_order = zip(test, said, strict=True)
    by_prompt = [
        [spoken for _, spoken in group]
        for _, group in groupby(in_order, key=lambda one: one[0].prompt.prompt_id)
    ]
    if all(len(samples) == 1 for samples in by_prompt):
        return self_similarity(said[:LIKENED])
    found = [value for s in by_prompt if (value := self_similarity(s)) is not None]
    return fmean(found) if found else None
