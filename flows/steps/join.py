"""Steps `prompts`, `completions` and `scores` of a round that drew several times: what the draws
made, one after the other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import COMPLETIONS, PROMPTS, SCORES
from dpo_core.tables import concatenate
from flows.policy import OWN_SAMPLES, REJECTED_FROM, Drawn
from flows.session import Session
from flows.steps.prompts import DRAWN

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
    session: Session, number: int, draws: Sequence[Drawn], outcome: Mapping[str, Any]
) -> Drawn:
    """The draws as one, by the names that the steps of a single draw have.

    outcome: what the drawing came to, a fact of step `prompts`.
    """
    prompts = _joined(session, number, "prompts", [draw.prompts for draw in draws], outcome)
    completions = _joined(session, number, "completions", [draw.completions for draw in draws], {})
    scored = [draw.scores for draw in draws if draw.scores is not None]
    scores = _joined(session, number, "scores", scored, {})
    parts = {made.entry.step: made for draw in draws for made in draw.artifacts()}
    parts |= {name: made for draw in draws for name, made in draw.parts.items()}
    return Drawn(prompts, completions, scores, parts)


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

    def make(folder: Path, given: Inputs) -> Made:
        concatenate([given.path(name) for name in inputs], folder / file, _SCHEMAS[step])
        return Made(together.came_in, together.kept, together.dropped, facts)

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
