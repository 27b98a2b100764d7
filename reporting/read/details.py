"""All that the report shows beyond the numbers of the rounds."""

from dataclasses import dataclass

from dpo_core.campaign.facts import valid_entries
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry
from flows.config.versions import ConfigInForce, read_configs
from reporting.read.curves import TrainingCurve, read_curves
from reporting.read.flow import StageCount, data_flow


@dataclass(frozen=True)
class Details:
    """curves: of each round's training. flow: what came in and went on, by round and stage. steps:
    the entries of the ledger that are valid now, by round. configs: in force when each round was
    made."""

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
