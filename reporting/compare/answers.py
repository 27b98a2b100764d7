"""Answers of the campaigns' current policies to the same held-out prompts, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo_core.campaign.metric_fields import finite
from dpo_core.text import visible
from reporting.compare.sides import CampaignComparison, Side
from reporting.number_formats import format_number

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 8
"""Prompts on a page, those first whose answers were judged most differently."""

SHOWN_IN_TERMINAL, CLIP = 3, 400
"""Prompts in a terminal, and characters of each answer."""


@dataclass(frozen=True)
class SideAnswer:
    """One campaign's answer. note: its score or outcome, as text."""

    label: str
    text: str
    note: str


@dataclass(frozen=True)
class PromptAnswers:
    """A prompt with the answer of each campaign."""

    prompt: str
    answers: tuple[SideAnswer, ...]


def answers_beside(comparison: CampaignComparison) -> tuple[PromptAnswers, ...]:
    """Empty unless all campaigns have answered the same prompts."""
    sides = comparison.sides
    common = [prompt for prompt in sides[0].prompts if all(prompt in s.answers for s in sides)]
    common.sort(key=lambda prompt: -_apart(sides, prompt))
    return tuple(
        PromptAnswers(
            visible(sides[0].prompts[prompt]),
            tuple(
                SideAnswer(side.label, visible(side.answers[prompt].text), _note(side, prompt))
                for side in sides
            ),
        )
        for prompt in common[:SHOWN]
    )


def _apart(sides: Sequence[Side], prompt: str) -> float:
    """How far the judgements of the answers are apart."""
    values = [_judged(side, prompt) for side in sides]
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) == len(values) else 0.0


def _judged(side: Side, prompt: str) -> float | None:
    score = finite(side.answers[prompt].score)
    return score if score is not None else side.outcomes.get((prompt, 0))


def _note(side: Side, prompt: str) -> str:
    score = finite(side.answers[prompt].score)
    if score is not None:
        return f"score {format_number('answer_score', score)}"
    words = {1.0: "won against its base", 0.5: "tied with its base", 0.0: "lost against its base"}
    return words.get(side.outcomes.get((prompt, 0), -1.0), "")


def render_answers(comparison: CampaignComparison) -> Iterator["RenderableType"]:
    """For a terminal: a few prompts, a column per campaign."""
    from rich.table import Table
    from rich.text import Text

    shown = answers_beside(comparison)[:SHOWN_IN_TERMINAL]
    if not shown:
        return
    yield Text("\nAnswers side by side", style="bold cyan")
    yield Text("the same prompts · those whose judgements differ most first", style="dim")
    for one in shown:
        yield Text(f"\n{_clip(one.prompt)}", style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for answer in one.answers:
            heading = f"{answer.label}  {answer.note}".rstrip()
            table.add_column(Text(heading), ratio=1, overflow="fold")
        table.expand = True
        table.add_row(*(Text(_clip(answer.text)) for answer in one.answers))
        yield table


def _clip(text: str) -> str:
    return text if len(text) <= CLIP else f"{text[: CLIP - 1]}…"
