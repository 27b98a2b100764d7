"""The plots of the report, by what they are about."""

from reporting.plots.answers import answer_plots
from reporting.plots.cost import cost_plots
from reporting.plots.data import flow_plots, label_plots
from reporting.plots.model import Plot, PlotGroup
from reporting.plots.quality import quality_plots
from reporting.plots.training import training_plots
from reporting.summary import CampaignSummary

_GROUPS = (
    (
        "better",
        "Does it get better?",
        "On held-out test prompts, that no round trains on.",
        quality_plots,
    ),
    ("texts", "What are the answers like?", "On the same prompts in every round.", answer_plots),
    ("training", "Training", "What each round's training did to its own pairs.", training_plots),
    (
        "labels",
        "Labels",
        "Whether those who judge agree, and what their labels bought.",
        label_plots,
    ),
    ("cost", "Where time, tokens and money went", "Per round, by step.", cost_plots),
    ("flow", "Data flow", "What came of the round's prompts.", flow_plots),
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
