"""How the policy writes: repetition, variety, likeness of its answers, refusals."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import (
    ByPrompt,
    describe_answers,
    mean_by_prompt,
    share_by_prompt,
)
from dpo_core.evaluation.intervals import columns
from dpo_core.evaluation.texts import (
    REFUSAL,
    distinct,
    refusals,
    repetition,
    self_similarity,
    words,
)
from dpo_core.records import Completion, score_row
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


def descriptions(
    ours: HeldOutAnswers, others: Mapping[str, HeldOutAnswers], config: EvaluationConfig
) -> dict[str, Any]:
    """Numbers of the policy's test answers with intervals; <number>_<other>: estimates alone."""
    numbers = _described(ours, config)
    without_interval = config.model_copy(update={"bootstrap_resamples": 1})
    for name, other in others.items():
        found = _described(other, without_interval)
        numbers |= {f"{key}_{name}": value for key, value in found.items() if _is_estimate(key)}
    return numbers


def _described(answers: HeldOutAnswers, config: EvaluationConfig) -> dict[str, Any]:
    test = answers.test()
    prompts = [c.prompt.prompt_id for c in test]
    shares = {
        "empty_share": [float(c.is_empty) for c in test],
        "token_repetition": [answers.repeated[c.completion_id] for c in test],
    }
    numbers = describe_answers(answers.completions, _score_rows(answers), config)
    for name, values in shares.items():
        found = mean_by_prompt(list(zip(prompts, values, strict=True)), config)
        numbers |= columns(name, found)
    return numbers


def _is_estimate(name: str) -> bool:
    return not name.endswith(("_low", "_high"))


def _score_rows(answers: HeldOutAnswers) -> list[dict[str, Any]]:
    """Scores of the first judge that scores: those of several are on scales of their own."""
    first = next(iter(answers.scores.items()), None)
    if first is None:
        return []
    source, scores = first
    return [score_row(identity, source, score) for identity, score in scores.items()]
