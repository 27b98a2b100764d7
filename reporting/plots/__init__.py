"""The plots of the report, by topic."""

from reporting.plots.answers import answer_plots
from reporting.plots.cost import cost_plots
from reporting.plots.data import flow_plots, label_plots
from reporting.plots.model import Plot, PlotGroup
from reporting.plots.quality import quality_plots
from reporting.plots.training import training_plots
from reporting.summary import CampaignSummary

_GROUPS = (
    (
        *("better", "Quality", "Does it get better?"),
        "On held-out test prompts, which no round trains on.",
        quality_plots,
    ),
    (
        *("texts", "Answers", "What are the answers like?"),
        "On the same prompts in every round.",
        answer_plots,
    ),
    ("training", "Training", "Training", "Each round's training on its own pairs.", training_plots),
    (
        *("labels", "Labels", "Labels"),
        "Agreement of judges and people, and what their labels gained.",
        label_plots,
    ),
    ("cost", "Cost", "Where time, tokens and money went", "Per round, by step.", cost_plots),
    ("flow", "Data", "Data flow", "From prompts to training pairs.", flow_plots),
)


def plot_groups(summary: CampaignSummary) -> tuple[PlotGroup, ...]:
    """All plots that are not empty, in the order of the report."""
    groups = []
    for key, short, title, note, make in _GROUPS:
        drawn = tuple(plot for plot in make(summary) if plot.series)
        if drawn:
            groups.append(PlotGroup(key, short, title, note, drawn))
    return tuple(groups)


def plots(summary: CampaignSummary) -> tuple[Plot, ...]:
    return tuple(plot for group in plot_groups(summary) for plot in group.plots)
