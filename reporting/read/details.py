"""What only the report shows: data flow, training curves, steps, configs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dpo_core.campaign.facts import valid_entries
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from flows.config.versions import ConfigInForce, read_configs
from reporting.read.curves import TrainingCurve, read_curves

STAGES = {
    "prompts": "prompts",
    "imported": "imported",
    "completions": "completions",
    "scores": "scored",
    "pairs": "pairs",
    "judgements": "judgements",
    "labels": "labels of people",
    "preferences": "preferences",
    "audit": "audited",
    "data": "with other rounds'",
    "training": "trained",
}
"""Step → name of its stage, in order."""

_STAYS = ("prompts", "labels", "data")
"""Steps that select items without losing the others."""


@dataclass(frozen=True)
class StageCount:
    """Counts of one stage.

    Items may change within a stage (prompts come in, completions are kept), so the counts need not
    add up; `dropped` counts the one or the other. stay: what was not kept is not lost, such as
    prompts that were not drawn.
    """

    round: int
    stage: str
    came_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    stay: bool = False


def data_flow(steps: Iterable[Entry]) -> tuple[StageCount, ...]:
    return tuple(
        StageCount(e.round, STAGES[e.step], e.came_in, e.kept, e.dropped, e.step in _STAYS)
        for e in steps
        if e.round > 0 and e.step in STAGES
    )


@dataclass(frozen=True)
class Details:
    """curves: of each round's training. flow: counts by round and stage. steps: the valid ledger
    entries, by round. configs: the config in force in each round."""

    curves: tuple[TrainingCurve, ...] = ()
    flow: tuple[StageCount, ...] = ()
    steps: tuple[Entry, ...] = ()
    configs: tuple[ConfigInForce, ...] = ()


def read_details(layout: Layout, planned: int) -> Details:
    steps = valid_entries(layout, planned)
    return Details(
        curves=read_curves(layout, planned),
        flow=data_flow(steps),
        steps=steps,
        configs=read_configs(layout, steps),
    )
