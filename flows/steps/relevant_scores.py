"""Scores that count only for relevant answers: of a judge that would pay for any answer of the
right form, whatever was asked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.inputs import Inputs
from dpo_core.evaluation.relevance import verdicts
from dpo_core.records import Completion, Score
from flows.evaluation.relevance import read_placed
from flows.session import Session
from flows.steps.answer_relevance import drawn, place

SEED = "relevance of scored answers"
"""Others are drawn than for held-out answers: what evaluates was not trained by."""

_WHY = {"another request": "the base places it at another request", "echo": "mostly an echo"}

Scored = tuple[Completion, Score]


def of_relevant(
    session: Session, folder: Path, inputs: Inputs, scored: Sequence[Scored], requests: int
) -> tuple[list[Scored], dict[str, int], float]:
    """The scores, with 0 for a score above it of an answer that is not relevant among `requests`
    prompts; how many answers were asked about, by what became of them; and the seconds until the
    base was loaded.

    An answer without a score above 0 is not asked about. One whose prompt is alone keeps its score.
    """
    prompts = sorted({c.prompt.prompt_id for c, _ in scored if not c.is_empty})
    asked = [(c, s) for c, s in scored if (s.value or 0) > 0]
    seed = session.seed(SEED)
    wanted = {c.completion_id: drawn(c, prompts, requests, seed) for c, _ in asked}
    answers = inputs.path("completions")
    logps, seconds = place(session, folder, inputs.path("base_policy"), answers, wanted)
    placed = read_placed(answers, logps)
    found = dict(zip(placed, verdicts(list(placed.values())), strict=True))
    told = Counter(found.values())
    return (
        [(c, _paid(s, found.get(c.completion_id))) for c, s in scored],
        {"answers": len(asked), **{name.replace(" ", "_"): told[name] for name in sorted(told)}},
        seconds,
    )


def _paid(score: Score, verdict: str | None) -> Score:
    if verdict is None:  # nobody was asked
        return score
    relevant = verdict in ("relevant", "alone")
    measured = replace(
        score, measures={**score.measures, "relevant_of_asked": (float(relevant), 1.0)}
    )
    if relevant:
        return measured
    why = f"not relevant: {_WHY.get(verdict, verdict)}"
    return replace(measured, value=0.0, reason=f"{score.reason}; {why}" if score.reason else why)
