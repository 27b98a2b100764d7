"""The prompts of a round with their answers and scores: drawn at once, or until enough pairs are
there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import OWN
from dpo_core.schemas import COMPLETIONS, PROMPTS, SCORES
from dpo_core.tables import concatenate
from flows.round_state import OWN_SAMPLES, REJECTED_FROM, DrawnAnswers, Other, Policy, RoundRecord
from flows.prefect.tasks import step
from flows.session import Session
from flows.steps.pairs import count_pairs
from flows.steps.prompts import DRAWN, PromptDraw, draw_prompts
from flows.steps.rejected_answers import combine_answers, sample_other
from flows.steps.sample import sample
from flows.steps.score import score
from labeling.pairs.enough import Goal, SoFar, ended_by, next_draw, outcome, shortfall


@dataclass(frozen=True)
class AnswerSources:
    """Whose answers are compared: the policy's, or the policy's with those of another. base: what
    a judge asks that looks whether answers belong to their requests."""

    policy: Policy
    base: Policy
    other: Other | None = None


def draw_answers(
    do: Session,
    number: int,
    answering: AnswerSources,
    held: Artifact,
    earlier: Sequence[RoundRecord],
) -> DrawnAnswers:
    """Answers to prompts of the round, with their scores if any judge scores."""
    if do.config.goal is not None:
        return _until_enough(do, number, answering, held, earlier, do.config.goal)
    return _drawn(do, number, answering, step(draw_prompts)(do, number, held, earlier))


def _drawn(
    do: Session, number: int, answering: AnswerSources, prompts: Artifact, ending: str = ""
) -> DrawnAnswers:
    """ending: of the steps' names, for one draw of several."""
    parts = tuple[Artifact, ...]()
    if answering.other is None:
        name = f"completions{ending}"
        completions = step(sample)(do, number, answering.policy, prompts, name)
    else:
        own = step(sample)(do, number, answering.policy, prompts, f"{OWN}{ending}")
        asked = (number, answering.policy, answering.other, prompts, ending)
        parts = (own, step(sample_other)(do, *asked))
        completions = step(combine_answers)(do, number, *parts, prompts, ending)
    scored = (completions, prompts, do.config.judge, f"scores{ending}", answering.base)
    scores = step(score)(do, number, *scored)
    return DrawnAnswers(prompts, completions, scores, {made.entry.step: made for made in parts})


def _until_enough(
    do: Session,
    number: int,
    answering: AnswerSources,
    held: Artifact,
    earlier: Sequence[RoundRecord],
    goal: Goal,
) -> DrawnAnswers:
    so_far = SoFar()
    draws: list[DrawnAnswers] = []
    while (ended := ended_by(goal, so_far)) is None:
        wanted = next_draw(goal, so_far)
        part = PromptDraw(len(draws) + 1, wanted, [each.prompts for each in draws])
        prompts = step(draw_prompts)(do, number, held, earlier, part)
        if not prompts.entry.kept:  # the draw before took the last ones
            so_far = replace(so_far, used_up=True)
            continue
        draws.append(drawn := _drawn(do, number, answering, prompts, part.ending))
        so_far = SoFar(
            so_far.prompts + prompts.entry.kept,
            so_far.tokens + drawn.completions.entry.facts["tokens"],
            count_pairs(do, number, draws),
            used_up=prompts.entry.kept < wanted,
        )
    joined = step(join_draws)(do, number, draws, outcome(goal, so_far, ended))
    said = shortfall(joined.prompts.entry.facts)
    if said is not None and not joined.prompts.cached:
        do.progress.notice(f"round {number} goes on with fewer pairs: {said}")
    return joined


_COUNTS = ("prompts", "prompt_tokens", "completions", "tokens", "truncated")
"""Facts of sampling that add up. How long it took stays with the draws, or it would count twice."""

_SAME = (OWN_SAMPLES, REJECTED_FROM)
"""Facts of completions that all draws have alike, if they have them."""

_SCHEMAS: Mapping[str, pa.Schema] = {
    "prompts": PROMPTS,
    "completions": COMPLETIONS,
    "scores": SCORES,
}


@dataclass(frozen=True)
class _Sum:
    came_in: int
    kept: int
    dropped: Mapping[str, int]


def join_draws(
    session: Session, number: int, draws: Sequence[DrawnAnswers], outcome: Mapping[str, Any]
) -> DrawnAnswers:
    """The draws as one, by the names that the steps of a single draw have.

    outcome: what the drawing came to, a fact of step `prompts`.
    """
    prompts = _joined(session, number, "prompts", [draw_answers.prompts for draw_answers in draws], outcome)
    completions = _joined(session, number, "completions", [draw_answers.completions for draw_answers in draws], {})
    scored = [draw_answers.scores for draw_answers in draws if draw_answers.scores is not None]
    scores = _joined(session, number, "scores", scored, {})
    parts = {made.entry.step: made for draw_answers in draws for made in draw_answers.artifacts()}
    parts |= {name: made for draw_answers in draws for name, made in draw_answers.parts.items()}
    return DrawnAnswers(prompts, completions, scores, parts)


def _joined(
    session: Session,
    number: int,
    step: str,
    made: Sequence[Artifact],
    outcome: Mapping[str, Any],
) -> Artifact:
    file = f"{step}.parquet"
    inputs = {f"draw_{place}": each.input(file) for place, each in enumerate(made, 1)}
    together = _last_pool(made) if step == "prompts" else _sum(made)
    facts = {**outcome, **_facts(step, made)}

    def make(folder: Path, given: Inputs) -> StepResult:
        concatenate([given.path(name) for name in inputs], folder / file, _SCHEMAS[step])
        return StepResult(together.came_in, together.kept, together.dropped, facts)

    return session.step(number, step, make, config=dict(outcome), inputs=inputs)


def _facts(step: str, made: Sequence[Artifact]) -> dict[str, Any]:
    names = {"prompts": ("reused",), "completions": _COUNTS}.get(step, ())
    first = made[0].entry.facts if made else {}
    same = {name: first[name] for name in _SAME if name in first}
    return {name: sum(each.entry.facts[name] for each in made) for name in names} | same


def _sum(made: Sequence[Artifact]) -> _Sum:
    dropped = Counter[str]()
    for each in made:
        dropped.update(each.entry.dropped)
    came_in, kept = (sum(getattr(m.entry, of) for m in made) for of in ("came_in", "kept"))
    return _Sum(came_in, kept, dict(sorted(dropped.items())))


def _last_pool(made: Sequence[Artifact]) -> _Sum:
    """Every draw looks at the whole pool: what the last one left is what the round left."""
    kept = sum(each.entry.kept for each in made)
    dropped = {why: count for why, count in made[-1].entry.dropped.items() if why != DRAWN}
    return _Sum(kept + sum(dropped.values()), kept, dropped)
