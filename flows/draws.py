"""Draw a round's prompts and answer them: at once, or until there are enough pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import OWN
from dpo_core.campaign.step_facts import PromptsFacts
from dpo_core.schemas import COMPLETIONS, PROMPTS, SCORES
from dpo_core.step_facts import StepFacts
from dpo_core.tables import concatenate
from flows.prefect.tasks import step
from flows.round_state import DrawnAnswers, Other, Policy, RoundRecord
from flows.session import Session
from flows.steps.pairs import count_pairs
from flows.steps.prompts import DRAWN, PromptDraw, draw_prompts
from flows.steps.rejected_answers import combine_answers, sample_other
from flows.steps.sample import sample
from flows.steps.score import score
from generation.jobs import CompletionsFacts
from labeling.pairs.draw_sizes import (
    DrawProgress,
    PairGoal,
    next_draw,
    outcome,
    shortfall_message,
    stop_reason,
)


@dataclass(frozen=True)
class AnswerSources:
    """Whose answers are compared: the policy's alone, or with those of `other`.

    base: for a judge that checks whether answers belong to their requests.
    """

    policy: Policy
    base: Policy
    other: Other | None = None


def draw_answers(
    session: Session,
    number: int,
    sources: AnswerSources,
    held: Artifact,
    earlier: Sequence[RoundRecord],
) -> DrawnAnswers:
    """Prompts of the round with answers, and their scores if a judge scores."""
    if session.config.goal is not None:
        return _draw_until_enough(session, number, sources, held, earlier, session.config.goal)
    prompts = step(draw_prompts)(session, number, held, earlier)
    return _answer(session, number, sources, prompts)


def _answer(
    session: Session, number: int, sources: AnswerSources, prompts: Artifact, ending: str = ""
) -> DrawnAnswers:
    """ending: of the steps' names, for one draw of several."""
    policy, parts = sources.policy, tuple[Artifact, ...]()
    if sources.other is None:
        completions = step(sample)(session, number, policy, prompts, f"completions{ending}")
    else:
        own = step(sample)(session, number, policy, prompts, f"{OWN}{ending}")
        other = step(sample_other)(session, number, policy, sources.other, prompts, ending)
        parts = (own, other)
        completions = step(combine_answers)(session, number, *parts, prompts, ending)
    scored = (completions, prompts, session.config.judge, f"scores{ending}", sources.base)
    scores = step(score)(session, number, *scored)
    return DrawnAnswers(prompts, completions, scores, {part.entry.step: part for part in parts})


def _draw_until_enough(
    session: Session,
    number: int,
    sources: AnswerSources,
    held: Artifact,
    earlier: Sequence[RoundRecord],
    goal: PairGoal,
) -> DrawnAnswers:
    so_far = DrawProgress()
    draws: list[DrawnAnswers] = []
    while (ended := stop_reason(goal, so_far)) is None:
        wanted = next_draw(goal, so_far)
        part = PromptDraw(len(draws) + 1, wanted, [each.prompts for each in draws])
        prompts = step(draw_prompts)(session, number, held, earlier, part)
        if not prompts.entry.kept:  # the draw before took the last ones
            so_far = replace(so_far, used_up=True)
            continue
        draws.append(drawn := _answer(session, number, sources, prompts, part.ending))
        so_far = DrawProgress(
            so_far.prompts + prompts.entry.kept,
            so_far.tokens + drawn.completions.facts(CompletionsFacts).tokens,
            count_pairs(session, number, draws),
            used_up=prompts.entry.kept < wanted,
        )
    ended_as = outcome(goal, so_far, ended)
    joined = step(join_draws)(session, number, draws, PromptsFacts.read(ended_as))
    reason = shortfall_message(ended_as)
    if reason is not None and not joined.prompts.cached:
        session.progress.notice(f"round {number} has fewer pairs than wanted: {reason}")
    return joined


_SAME = {"own_samples", "rejected_from"}
"""Facts of completions that are the same in all draws, if they have them."""

_SCHEMAS: Mapping[str, pa.Schema] = {
    "prompts": PROMPTS,
    "completions": COMPLETIONS,
    "scores": SCORES,
}


def join_draws(
    session: Session, number: int, draws: Sequence[DrawnAnswers], outcome: PromptsFacts
) -> DrawnAnswers:
    """The draws joined, under the step names of a single draw.

    outcome: how drawing ended, recorded as facts of step `prompts`.
    """
    drawn, answered = [d.prompts for d in draws], [d.completions for d in draws]
    reused = sum(part.facts(PromptsFacts).reused for part in drawn)
    facts = outcome.model_copy(update={"reused": reused})
    prompts = _join(session, number, "prompts", drawn, facts, outcome.as_json())
    added = _add_up([part.facts(CompletionsFacts) for part in answered])
    completions = _join(session, number, "completions", answered, added, {})
    scored = [d.scores for d in draws if d.scores is not None]
    scores = _join(session, number, "scores", scored, StepFacts(), {})
    parts = {part.entry.step: part for d in draws for part in d.artifacts()}
    parts |= {name: part for d in draws for name, part in d.parts.items()}
    return DrawnAnswers(prompts, completions, scores, parts)


def _join(
    session: Session,
    number: int,
    step: str,
    parts: Sequence[Artifact],
    facts: StepFacts,
    config: Mapping[str, object],
) -> Artifact:
    file = f"{step}.parquet"
    inputs = {f"draw_{place}": part.input(file) for place, part in enumerate(parts, 1)}
    counts = _count_pool(parts) if step == "prompts" else _sum(parts)

    def make(folder: Path, given: Inputs) -> StepResult:
        concatenate([given.path(name) for name in inputs], folder / file, _SCHEMAS[step])
        return replace(counts, facts=facts)

    return session.step(number, step, make, config=config, inputs=inputs)


def _add_up(draws: Sequence[CompletionsFacts]) -> CompletionsFacts:
    """Without durations, which stay with the draws, or they would count twice."""
    return CompletionsFacts(
        prompts=sum(draw.prompts for draw in draws),
        prompt_tokens=sum(draw.prompt_tokens or 0 for draw in draws),
        completions=sum(draw.completions for draw in draws),
        tokens=sum(draw.tokens for draw in draws),
        truncated=sum(draw.truncated for draw in draws),
        **(draws[0].model_dump(include=_SAME, exclude_unset=True) if draws else {}),
    )


def _sum(parts: Sequence[Artifact]) -> StepResult:
    entries = [part.entry for part in parts]
    dropped = sum((Counter(entry.dropped) for entry in entries), Counter[str]())
    came_in, kept = sum(e.came_in for e in entries), sum(e.kept for e in entries)
    return StepResult(came_in, kept, dict(sorted(dropped.items())))


def _count_pool(parts: Sequence[Artifact]) -> StepResult:
    """Every draw reads the whole pool, so the last one says what the round left there."""
    kept = sum(part.entry.kept for part in parts)
    dropped = {why: count for why, count in parts[-1].entry.dropped.items() if why != DRAWN}
    return StepResult(kept + sum(dropped.values()), kept, dropped)
