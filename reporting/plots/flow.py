"""The data flow of the last round as bars."""

from collections.abc import Iterator

from dpo_core.text import visible
from reporting.plots.model import COUNT, Plot, Point, Series
from reporting.summary import CampaignSummary


def flow(summary: CampaignSummary) -> Iterator[Plot]:
    """Nothing for a campaign without a finished round."""
    counts = [one for one in summary.details.flow if one.round == summary.details.flow[-1].round]
    if not counts:
        return
    kept = Series("went on", tuple(Point(one.stage, one.kept) for one in counts))
    lossy = [one for one in counts if not one.stay]
    reasons = dict.fromkeys(reason for one in lossy for reason in one.dropped)
    lost = [
        Series(
            visible(reason),
            tuple(Point(o.stage, o.dropped[reason]) for o in lossy if reason in o.dropped),
        )
        for reason in reasons
    ]
    yield Plot(
        f"From prompts to training, round {counts[0].round}",
        "How many of each went on, and why the others were lost. Prompts that stayed in the pool "
        "are in the table.",
        "count",
        COUNT,
        (kept, *lost),
        mark="bar",
        x_title="stage",
    )
