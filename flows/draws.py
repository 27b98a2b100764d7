"""The prompts of a round with their answers and scores: drawn at once, or until enough pairs are
there."""

from collections.abc import Sequence
from dataclasses import replace

from dpo_core.campaign.store import Artifact
from flows.policy import Drawn, Played, Policy
from flows.prefect.tasks import step
from flows.session import Session
from flows.steps.join import join_draws
from flows.steps.pairs import count_pairs
from flows.steps.prompts import Part, draw_prompts
from flows.steps.sample import sample
from flows.steps.score import score
from labeling.pairs.enough import Goal, SoFar, ended_by, next_draw, outcome, shortfall


def draw(
    do: Session,
    number: int,
    policy: Policy,
    base: Policy,
    held: Artifact,
    earlier: Sequence[Played],
) -> Drawn:
    """The policy's answers to prompts of the round, with their scores if any judge scores."""
    if do.config.goal is not None:
        return _until_enough(do, number, policy, base, held, earlier, do.config.goal)
    prompts = step(draw_prompts)(do, number, held, earlier)
    completions = step(sample)(do, number, policy, prompts)
    scores = step(score)(do, number, completions, prompts, do.config.judge, base=base)
    return Drawn(prompts, completions, scores)


def _until_enough(
    do: Session,
    number: int,
    policy: Policy,
    base: Policy,
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
        completions = step(sample)(do, number, policy, prompts, part.ending)
        scores = step(score)(
            do, number, completions, prompts, do.config.judge, f"scores{part.ending}", base
        )
        draws.append(Drawn(prompts, completions, scores))
        so_far = SoFar(
            so_far.prompts + prompts.entry.kept,
            so_far.tokens + completions.entry.facts["tokens"],
            count_pairs(do, number, draws),
            used_up=prompts.entry.kept < wanted,
        )
    joined = step(join_draws)(do, number, draws, outcome(goal, so_far, ended))
    said = shortfall(joined.prompts.entry.facts)
    if said is not None and not joined.prompts.cached:
        do.progress.notice(f"round {number} goes on with fewer pairs: {said}")
    return joined
