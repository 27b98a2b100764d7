"""Rows of the sample browser: prompts, answers, and verdicts on the answers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.records import Prompt, PromptRow, prompt_from_row
from dpo_core.tables import iterate_as, read_rows

PROMPTS_SHOWN = 5_000
CHARACTERS_SHOWN = 24_000_000
"""Most held-out prompts in the report, and characters of all answers to them."""


@dataclass(frozen=True)
class SourceVerdict:
    """Verdict of one source on an answer; `verdict` is text, as "won against base"."""

    source: str
    verdict: str
    reason: str = ""
    person: bool = False


@dataclass(frozen=True)
class SampledAnswer:
    """One policy's answer to a prompt. round: 0 is the base policy. name: tells several answers of
    one policy apart."""

    round: int
    text: str
    score: float | None
    reason: str
    finish_reason: str
    name: str = ""
    verdicts: tuple[SourceVerdict, ...] = ()


@dataclass(frozen=True)
class SampleRow:
    """A prompt and its answers. kind: "held-out" (one answer by every round's policy) or "training"
    (a pair of one round)."""

    prompt: str
    answers: tuple[SampledAnswer, ...]
    kind: str = "held-out"
    prompt_id: str = ""
    tags: tuple[str, ...] = ()


def held_out_rows(layout: Layout, planned: int) -> tuple[tuple[SampleRow, ...], int]:
    """(rows, number of test prompts left out): test prompts with every round's first answer."""
    test = read_test_prompts(layout)
    answers: dict[str, list[SampledAnswer]] = defaultdict(list)
    for number in range(planned + 1):
        for prompt_id, answer in read_answers(layout, number).items():
            answers[prompt_id].append(answer)
    rows = tuple(_within_budget(test[:PROMPTS_SHOWN], answers))
    return rows, len(test) - len(rows)


def read_test_prompts(layout: Layout) -> list[Prompt]:
    held_out = current_artifact(layout, 0, "held_out")
    if held_out is None:
        return []
    prompts = map(prompt_from_row, iterate_as(held_out.path("prompts.parquet"), PromptRow))
    return [prompt for prompt in prompts if prompt.split == "test"]


def _within_budget(
    prompts: Sequence[Prompt], answers: Mapping[str, list[SampledAnswer]]
) -> Iterator[SampleRow]:
    left = CHARACTERS_SHOWN
    for prompt in prompts:
        given = tuple(answers.get(prompt.prompt_id, ()))
        left -= len(prompt.shown()) + sum(len(answer.text) for answer in given)
        if left >= 0:
            yield SampleRow(prompt.shown(), given, "held-out", prompt.prompt_id, tags(prompt))


def tags(prompt: Prompt) -> tuple[str, ...]:
    """Short fields of the prompt to filter by, as "field=value"."""
    return tuple(
        f"{name}={value}"
        for name, values in prompt.extra.items()
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, str | int | bool) and len(str(value)) <= 40
    )


def read_answers(layout: Layout, number: int) -> dict[str, SampledAnswer]:
    """Prompt id → the first answer of round `number`'s policy; 0 is the base."""
    completions = current_artifact(layout, number, "answers")
    if completions is None:
        return {}
    scores = read_scores(current_artifact(layout, number, "answer_scores"))
    outcomes = _outcomes(current_artifact(layout, number, "evaluation"))
    columns = ["completion_id", "prompt_id", "sample_index", "text", "finish_reason"]
    answers = {}
    for row in read_rows(completions.path("completions.parquet"), columns):
        if row["sample_index"] == 0:
            score, reason = scores.get(row["completion_id"], (None, ""))
            verdicts = tuple(outcomes.get(row["prompt_id"], ()))
            answers[row["prompt_id"]] = SampledAnswer(
                number, row["text"], score, reason, row["finish_reason"], verdicts=verdicts
            )
    return answers


def read_scores(scores: Artifact | None) -> dict[str, tuple[float | None, str]]:
    if scores is None:
        return {}
    rows = read_rows(scores.path("scores.parquet"), ["completion_id", "score", "reason"])
    return {row["completion_id"]: (row["score"], row["reason"]) for row in rows}


def _outcomes(evaluation: Artifact | None) -> Mapping[str, list[SourceVerdict]]:
    """Verdicts of the evaluation judge on first answers, by prompt."""
    verdicts: dict[str, list[SourceVerdict]] = defaultdict(list)
    if evaluation is None:
        return verdicts
    for row in read_rows(evaluation.path("outcomes.parquet")):
        if row["sample_index"] == 0:
            verdict = _outcome_text(row["outcome"], row["opponent"])
            verdicts[row["prompt_id"]].append(
                SourceVerdict("evaluation", verdict, row.get("reason") or "")
            )
    return verdicts


def _outcome_text(outcome: Any, opponent: str) -> str:
    if outcome is None:
        return f"not decided against {opponent}"
    if outcome == 0.5:
        return f"tied with {opponent}"
    return f"{'won' if outcome > 0.5 else 'lost'} against {opponent}"
