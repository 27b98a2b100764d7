"""The prompts of a round with their answers and scores: drawn at once, or until enough pairs are
there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpo_core.campaign.layout import OWN
from dpo_core.campaign.store import Artifact
from flows.policy import Drawn, Other, Played, Policy
from flows.prefect.tasks import step
from flows.session import Session
from flows.steps.join import join_draws
from flows.steps.pairs import count_pairs
from flows.steps.prompts import Part, draw_prompts
from flows.steps.rejected import put_together, sample_other
from flows.steps.sample import sample
from flows.steps.score import score
from labeling.pairs.enough import Goal, SoFar, ended_by, next_draw, outcome, shortfall


@dataclass(frozen=True)
class Answering:
    """Whose answers are compared: the policy's, or the policy's with those of another. base: what
    a judge asks that looks whether answers belong to their requests."""

    policy: Policy
    base: Policy
    other: Other | None = None


def draw(
    do: Session, number: int, answering: Answering, held: Artifact, earlier: Sequence[Played]
) -> Drawn:
    """Answers to prompts of the round, with their scores if any judge scores."""
    if do.config.goal is not None:
        return _until_enough(do, number, answering, held, earlier, do.config.goal)
    return _drawn(do, number, answering, step(draw_prompts)(do, number, held, earlier))


def _drawn(
    do: Session, number: int, answering: Answering, prompts: Artifact, ending: str = ""
) -> Drawn:
    """ending: of the steps' names, for one draw of several."""
    parts = tuple[Artifact, ...]()
    if answering.other is None:
        name = f"completions{ending}"
        completions = step(sample)(do, number, answering.policy, prompts, name)
    else:
        own = step(sample)(do, number, answering.policy, prompts, f"{OWN}{ending}")
        asked = (number, answering.policy, answering.other, prompts, ending)
        parts = (own, step(sample_other)(do, *asked))
        completions = step(put_together)(do, number, *parts, prompts, ending)
    scored = (completions, prompts, do.config.judge, f"scores{ending}", answering.base)
    scores = step(score)(do, number, *scored)
    return Drawn(prompts, completions, scores, {made.entry.step: made for made in parts})


def _until_enough(
    do: Session,
    number: int,
    answering: Answering,
    held: Artifact,
    earlier: Sequence[Played],
    goal: Goal,
) -> Drawn:
    so_far = SoFar()
    draws: list[Drawn] = []
    while (ended := ended_by(goal, so_far)) is None:
        wanted = next_draw(goal, so_far)
        part = Part(len(draws) + 1, wanted, [each.prompts for each in draws])
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
