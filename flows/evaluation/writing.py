"""Style of the answers: repetition, variety, self-similarity, refusals, length."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

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
from dpo_core.records import Completion
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers

LIKENED = 64
"""Answers compared with each other where every prompt has one."""


def measure_writing(
    ours: HeldOutAnswers, base: HeldOutAnswers, config: HeldOutConfig
) -> dict[str, float | None]:
    """Metrics of the test answers, means with intervals, and the base's as <metric>_base.

    None where no answer has enough words.
    """
    numbers: dict[str, float | None] = {}
    for name, values in measure_each_answer(ours.test(), config).items():
        numbers |= columns(name, share_by_prompt(values, config))
    numbers |= measure_variety(ours.test())
    of_base = {
        name: fmean(value for _, value in values) if values else None
        for name, values in measure_each_answer(base.test(), config).items()
    }
    return numbers | {
        f"{k}_base": v for k, v in {**of_base, **measure_variety(base.test())}.items()
    }


def measure_each_answer(test: Sequence[Completion], config: HeldOutConfig) -> dict[str, ByPrompt]:
    """Repetition and refusal per answer, without answers of too few words."""
    repeated = ((c.prompt.prompt_id, repetition(words(c.text))) for c in test)
    refused = refusals([c.text for c in test], config.refusal_pattern or REFUSAL)
    return {
        "repetition_share": [(prompt, value) for prompt, value in repeated if value is not None],
        "refusal_share": [
            (c.prompt.prompt_id, float(r)) for c, r in zip(test, refused, strict=True)
        ],
    }


def measure_variety(test: Sequence[Completion]) -> dict[str, float | None]:
    """Distinct n-grams and self-similarity, without intervals: a resample repeats answers, so it is
    always less varied."""
    texts = [words(c.text) for c in test]
    return {
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "self_similarity": _measure_similarity(test, texts),
    }


def _measure_similarity(test: Sequence[Completion], texts: Sequence[Sequence[str]]) -> float | None:
    """Similarity of answers to the same prompt, or to different ones if each prompt has one answer:
    a policy that always says the same shows in both."""
    in_order = zip(test, texts, strict=True)
    by_prompt = [
        [text for _, text in group]
        for _, group in groupby(in_order, key=lambda pair: pair[0].prompt.prompt_id)
    ]
    if all(len(samples) == 1 for samples in by_prompt):
        return self_similarity(texts[:LIKENED])
    values = [value for s in by_prompt if (value := self_similarity(s)) is not None]
    return fmean(values) if values else None


def compare_styles(
    ours: HeldOutAnswers, others: Mapping[str, HeldOutAnswers], config: EvaluationConfig
) -> dict[str, float | None]:
    """Metrics of the policy's test answers with intervals; <metric>_<opponent>: estimates alone."""
    numbers = _describe(ours, config)
    without_interval = config.model_copy(update={"bootstrap_resamples": 1})
    for name, other in others.items():
        metrics = _describe(other, without_interval).items()
        estimates = {key: v for key, v in metrics if not key.endswith(("_low", "_high"))}
        numbers |= {f"{key}_{name}": value for key, value in estimates.items()}
    return numbers


def _describe(answers: HeldOutAnswers, config: EvaluationConfig) -> dict[str, float | None]:
    test = answers.test()
    prompts = [c.prompt.prompt_id for c in test]
    shares = {
        "empty_share": [float(c.is_empty) for c in test],
        "token_repetition": [answers.repeated[c.completion_id] for c in test],
    }
    scores = next(iter(answers.scores.values()), {})  # of the first judge: they differ in scale
    numbers = describe_answers(answers.completions, scores, config)
    for name, values in shares.items():
        numbers |= columns(name, mean_by_prompt(list(zip(prompts, values, strict=True)), config))
    return numbers
