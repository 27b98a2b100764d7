"""What the answers are like: length, truncation, scores and measures, the others' beside them."""

from collections.abc import Mapping
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import describe, mean_by_prompt
from dpo_core.evaluation.intervals import columns
from dpo_core.records import score_row
from flows.evaluation.held_out import HeldOutAnswers


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
    numbers = describe(answers.completions, _score_rows(answers), config)
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
