"""Rows of the sample browser: packed JSON for the page's script, and text without scripts.

The rows are gzipped, which makes them about five times smaller. The script unpacks them with the
browser's DecompressionStream and creates elements only for the prompt in view.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dpo_core.campaign.metric_fields import finite
from dpo_core.text import visible
from reporting.number_formats import format_number
from reporting.read.samples import SampledAnswer, SampleRow
from reporting.summary import CampaignSummary

CLIP = 800
"""Characters of a text shown before "show all"."""

STATIC = 8
STATIC_ANSWERS = 4
"""Prompts, and answers to each, shown without a script."""


@dataclass(frozen=True)
class StaticAnswer:
    """An answer shown without a script; `start` of its text is visible at once."""

    policy: str
    start: str
    rest: str
    judged: str
    truncated: bool


@dataclass(frozen=True)
class StaticPrompt:
    """A prompt, split like its answers."""

    start: str
    rest: str
    answers: tuple[StaticAnswer, ...]


def pack_samples(summary: CampaignSummary) -> str:
    """The rows as gzipped JSON in base64, deterministically; empty without rows."""
    if not summary.samples:
        return ""
    forgotten = forgotten_ids(summary)
    rows = [_row(row, row.prompt_id in forgotten) for row in summary.samples]
    text = json.dumps(rows, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def forgotten_ids(summary: CampaignSummary) -> frozenset[str]:
    """Ids of prompts that the last round answers worse than an earlier round."""
    last = summary.rounds[-1].forgotten if summary.rounds else None
    return frozenset(example.prompt_id for example in last.examples) if last else frozenset()


def _row(row: SampleRow, forgotten: bool) -> dict[str, object]:
    return {
        "p": visible(row.prompt),
        "k": row.kind,
        "t": [visible(tag) for tag in row.tags],
        "f": int(forgotten),
        "i": visible(row.prompt_id),
        "a": [_answer(answer) for answer in row.answers],
    }


def _answer(answer: SampledAnswer) -> list[object]:
    """[round, name, text, score, reason, truncated, [[source, verdict, reason, person], …]]"""
    verdicts = [
        [visible(given.source), given.verdict, visible(given.reason), int(given.person)]
        for given in answer.verdicts
    ]
    return [
        answer.round,
        policy_name(answer),
        visible(answer.text),
        finite(answer.score),
        visible(answer.reason),
        int(answer.finish_reason == "length"),
        verdicts,
    ]


def policy_name(answer: SampledAnswer) -> str:
    return answer.name or ("base" if answer.round == 0 else f"round {answer.round}")


def static_prompts(summary: CampaignSummary) -> tuple[StaticPrompt, ...]:
    """The prompts whose scores changed most, with the base's and the last rounds' answers."""
    held_out = [row for row in summary.samples if row.kind == "held-out" and row.answers]
    most = sorted(held_out, key=lambda row: -abs(score_gain(row) or 0.0))[:STATIC]
    return tuple(
        StaticPrompt(*split_at_clip(row.prompt), tuple(map(_static_answer, _some(row.answers))))
        for row in most
    )


def score_gain(row: SampleRow) -> float | None:
    """Score of the last answer minus that of the first; None if either is unknown."""
    first, last = (finite(a.score) for a in (row.answers[0], row.answers[-1]))
    return None if first is None or last is None else last - first


def _some(answers: tuple[SampledAnswer, ...]) -> Iterable[SampledAnswer]:
    left = STATIC_ANSWERS - 1
    return answers if len(answers) <= STATIC_ANSWERS else (answers[0], *answers[-left:])


def _static_answer(answer: SampledAnswer) -> StaticAnswer:
    return StaticAnswer(
        policy_name(answer),
        *split_at_clip(answer.text),
        judged="; ".join(_verdict_texts(answer)),
        truncated=answer.finish_reason == "length",
    )


def _verdict_texts(answer: SampledAnswer) -> Iterator[str]:
    score = finite(answer.score)
    if score is not None:
        reason = f" ({visible(answer.reason)})" if answer.reason else ""
        yield f"score {format_number('answer_score', score)}{reason}"
    for given in answer.verdicts:
        yield f"{given.verdict}: {visible(given.reason)}" if given.reason else given.verdict


def split_at_clip(text: str) -> tuple[str, str]:
    printable = visible(text)
    # A rest about as short as the button that reveals it is not hidden.
    return (printable[:CLIP], printable[CLIP:]) if len(printable) > CLIP + 200 else (printable, "")
