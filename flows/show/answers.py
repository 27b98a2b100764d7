"""The same held-out prompts answered by every round's policy, side by side."""

from dataclasses import dataclass

from flows.show.numbers import number, visible
from flows.show.summary import Answer, CampaignSummary

CLIP = 800
"""Characters of an answer that are shown before "show all"."""


@dataclass(frozen=True)
class Cell:
    """One answer, ready to be escaped."""

    policy: str
    start: str
    rest: str
    score: str
    reason: str
    truncated: bool
    missing: bool = False


@dataclass(frozen=True)
class Prompt:
    start: str
    rest: str
    cells: tuple[Cell, ...]


def policies(summary: CampaignSummary) -> tuple[str, ...]:
    """Headings of the columns: the base, then each round that answered."""
    return tuple(_policy(round_) for round_ in _answering(summary))


def _answering(summary: CampaignSummary) -> list[int]:
    return sorted({answer.round for row in summary.samples for answer in row.answers})


def _policy(round_: int) -> str:
    return "base" if round_ == 0 else f"round {round_}"


def prompts(summary: CampaignSummary) -> tuple[Prompt, ...]:
    """Rows of answers; a policy that did not answer a prompt leaves an empty cell."""
    order = _answering(summary)
    rows = []
    for row in summary.samples:
        by_round = {answer.round: answer for answer in row.answers}
        cells = tuple(_cell(round_, by_round.get(round_)) for round_ in order)
        rows.append(Prompt(*_clipped(row.prompt), cells))
    return tuple(rows)


def _cell(round_: int, answer: Answer | None) -> Cell:
    if answer is None:
        return Cell(_policy(round_), "", "", "", "", truncated=False, missing=True)
    score = number({"score": answer.score}, "score")
    return Cell(
        _policy(round_),
        *_clipped(answer.text),
        score="" if score is None else f"{score:.3g}",
        reason=visible(answer.reason),
        truncated=answer.finish_reason == "length",
    )


def _clipped(text: str) -> tuple[str, str]:
    shown = visible(text)
    # A rest shorter than the button that would reveal it is not worth hiding.
    return (shown[:CLIP], shown[CLIP:]) if len(shown) > CLIP + 200 else (shown, "")
