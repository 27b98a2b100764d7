"""Plots of where time, tokens and money went: one colour per kind of step in all of them."""

from collections.abc import Callable, Iterator

from dpo_core.campaign.metric_fields import finite
from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.number_formats import COUNT
from reporting.numbers import STEPS, seconds_by_step, step_kind
from reporting.plots.model import Plot, stacked_series
from reporting.summary import CampaignSummary

_PARTS = (*STEPS[1:], STEPS[0], "other")
_SECONDS = ".1f"


def cost_plots(summary: CampaignSummary) -> Iterator[Plot]:
    currency = summary.settings.currency or "money"
    recorded = any(row.cost_by_step for row in summary.rounds)
    by_part = (lambda row, part: seconds_by_step(row)[part]) if not recorded else _summed("seconds")
    for title, about, unit, form, of in (
        ("Time", "Wall seconds of the steps, all attempts.", "seconds", _SECONDS, by_part),
        (
            "Device time",
            "GPU-seconds of the steps.",
            "GPU-seconds",
            _SECONDS,
            _summed("gpu_seconds"),
        ),
        (
            "Processor time",
            "CPU-seconds of all processes of the steps.",
            "CPU-seconds",
            _SECONDS,
            _summed("cpu_seconds"),
        ),
        (
            "Tokens",
            "Tokens read and generated, by policies and by judge models.",
            "tokens",
            COUNT,
            _summed("tokens_in", "tokens_out"),
        ),
        ("Money", "At the prices in the config.", currency, ",.2f", _summed("money")),
    ):
        yield Plot(title, about, unit, form, stacked_series(summary, _PARTS, of), mark="bar")


def _summed(*names: str) -> Callable[[RoundMetrics, str], float | None]:
    """Of all steps of one kind."""

    def sum_of(row: RoundMetrics, part: str) -> float | None:
        values = [
            value
            for step, cost in (row.cost_by_step or {}).items()
            if step_kind(step) == part
            for name in names
            if (value := finite(getattr(cost, name, None))) is not None
        ]
        return sum(values) if values else None

    return sum_of
