"""The plots of the report, by what they are about."""

from reporting.plots.better import better
from reporting.plots.cost import cost
from reporting.plots.flow import flow
from reporting.plots.labels import labels
from reporting.plots.model import Plot, PlotGroup, Point, Series, place, spoken, written
from reporting.plots.texts import texts
from reporting.plots.training import training
from reporting.summary import CampaignSummary

__all__ = [
    "Plot",
    "PlotGroup",
    "Point",
    "Series",
    "place",
    "plot_groups",
    "plots",
    "spoken",
    "written",
]

_GROUPS = (
    ("better", "Does it get better?", "On held-out test prompts, that no round trains on.", better),
    ("texts", "What are the answers like?", "On the same prompts in every round.", texts),
    ("training", "Training", "What each round's training did to its own pairs.", training),
    ("labels", "Labels", "Whether those who judge agree, and what their labels bought.", labels),
    ("cost", "Where time, tokens and money went", "Per round, by step.", cost),
    ("flow", "Data flow", "What came of the round's prompts.", flow),
)


def plot_groups(summary: CampaignSummary) -> tuple[PlotGroup, ...]:
    """All plots that have something to show, in the order of the report."""
    groups = []
    for key, title, note, make in _GROUPS:
        made = tuple(plot for plot in make(summary) if plot.series)
        if made:
            groups.append(PlotGroup(key, title, note, made))
    return tuple(groups)


def plots(summary: CampaignSummary) -> tuple[Plot, ...]:
    return tuple(plot for group in plot_groups(summary) for plot in group.plots)
