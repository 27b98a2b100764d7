"""Plots of where time, tokens and money went."""

from collections.abc import Iterator, Mapping
from typing import Any

from reporting.numbers import STEPS, Row, number, seconds_by_step
from reporting.plots.model import COUNT, DECIMAL, SECONDS, Plot, stacked_series
from reporting.summary import CampaignSummary


def cost_plots(summary: CampaignSummary) -> Iterator[Plot]:
    parts = (*STEPS, "other")
    yield Plot(
        "Time",
        "Wall seconds per round, by step; start: of sampling and training processes.",
        "seconds",
        SECONDS,
        stacked_series(summary, parts, lambda row, part: seconds_by_step(row)[part]),
        mark="bar",
    )
    for title, about, unit, form, names in (
        (
            "Device time",
            "Seconds of GPUs by step; none where nothing ran on one.",
            "GPU-seconds",
            SECONDS,
            ("gpu_seconds",),
        ),
        (
            "Processor time",
            "CPU-seconds of all processes by step.",
            "CPU-seconds",
            SECONDS,
            ("cpu_seconds",),
        ),
        (
            "Tokens",
            "Tokens read and written by step, by policies and by judges that are models.",
            "tokens",
            COUNT,
            ("tokens_in", "tokens_out"),
        ),
        ("Money", "By step, at the prices of the config.", _currency(summary), DECIMAL, ("money",)),
    ):
        series = stacked_series(summary, _steps(summary), _summed(names))
        yield Plot(title, about, unit, form, series, mark="bar")


def _summed(names: tuple[str, ...]) -> Any:
    def of(row: Row, step: str) -> float | None:
        spent = by_step(row).get(step, {})
        found = [value for name in names if (value := number(spent, name)) is not None]
        return sum(found) if found else None

    return of


def by_step(row: Row) -> Mapping[str, Mapping[str, Any]]:
    """What each step of the round took; empty for rounds of older versions."""
    found = row.get("cost_by_step")
    return found if isinstance(found, Mapping) else {}


def _steps(summary: CampaignSummary) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step for row in summary.rounds for step in by_step(row)))


def _currency(summary: CampaignSummary) -> str:
    prices = summary.settings.get("prices")
    currency = prices.get("currency") if isinstance(prices, Mapping) else None
    return str(currency) if currency else "money"
