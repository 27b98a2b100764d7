"""Two tables of the first screen: what rounds cost, and what casts doubt on their win rates."""

from collections.abc import Callable, Iterable, Mapping

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.cells import (
    Column,
    TableSection,
    cell_with_interval,
    format_estimate,
    percent,
    table_by_round,
)
from reporting.label_gains import (
    PER,
    LabelGains,
    LabelValue,
    count_human_labels,
    count_labels,
    label_gains,
)
from reporting.numbers import MISSING, lowest_kappa
from reporting.summary import CampaignSummary


def cost_table(summary: CampaignSummary) -> TableSection:
    """Cost per round, and the gain per label."""
    per_labels = {gains.round: gains for gains in label_gains(summary)}
    columns: list[Column] = [
        ("minutes", _scaled("seconds_round", 60, "{:.1f}")),
        ("GPU-hours", _scaled("gpu_seconds", 3600, "{:.2f}")),
        ("CPU-hours", _scaled("cpu_seconds", 3600, "{:.3f}")),
        ("tokens in", _scaled("tokens_in", 1, "{:,.0f}")),
        ("tokens out", _scaled("tokens_out", 1, "{:,.0f}")),
        ("labels", lambda row: f"{count_labels(row):,}" if count_labels(row) else None),
        ("human", _human_labels),
        ("money", _scaled("money", 1, "{:,.2f}")),
        (f"wins per {PER} labels", _gain(per_labels)),
    ]
    note = (
        "minutes: wall time of the steps · labels: verdicts of judges and people · wins per "
        f"{PER} labels: points of win rate over the previous policy, credited to labels alone"
    )
    return table_by_round("At what price?", note, summary, columns, MISSING)


def _scaled(name: str, by: float, form: str) -> Callable[[RoundMetrics], str | None]:
    def write(row: RoundMetrics) -> str | None:
        value = row.number(name)
        return None if value is None else form.format(value / by)

    return write


def _human_labels(row: RoundMetrics) -> str | None:
    count = count_human_labels(row)
    return None if count is None else f"{count:,}"


def _gain(by_round: Mapping[int, LabelGains]) -> Callable[[RoundMetrics], str | None]:
    def write(row: RoundMetrics) -> str | None:
        gains = by_round.get(row.round)
        return None if gains is None or gains.win_rate is None else _points(gains.win_rate)

    return write


def _points(value: LabelValue) -> str:
    """Signed percentage points with their interval."""
    return format_estimate(value.estimate, value.low, value.high, lambda v: f"{100 * v:+.1f}")


def trust_table(summary: CampaignSummary) -> TableSection:
    """Findings that cast doubt on the win rate of a round."""
    columns: list[Column] = [
        ("LC wins vs base %", _controlled),
        ("decided %", _decided),
        ("κ with people", _kappa),
        ("forgotten", _forgotten),
        ("slices worse", lambda row: _count(s.flagged for s in (row.slices or {}).values())),
        ("suites failed", lambda row: _count(s.failed for s in (row.suites or {}).values())),
        ("cycles", lambda row: str(len(row.cycles)) if row.cycles is not None else None),
        ("overlap", _overlap),
        ("warnings", lambda row: str(len(row.warnings or {}))),
    ]
    note = (
        "LC: length-controlled · decided: of the gate's comparisons · κ: lowest of the judges · "
        "forgotten: prompts answered worse than by an earlier round · overlap: held-out prompts "
        "that share long passages with training prompts"
    )
    return table_by_round("Can I trust it?", note, summary, columns, MISSING)


def _interval(name: str) -> Callable[[RoundMetrics], str | None]:
    def write(row: RoundMetrics) -> str | None:
        return None if row.number(name) is None else cell_with_interval(row, name, percent)

    return write


def _controlled(row: RoundMetrics) -> str | None:
    text = _interval("lc_win_rate_base")(row)
    return f"{text} extrapolated" if text and row.lc_win_rate_base_extrapolated else text


def _decided(row: RoundMetrics) -> str | None:
    """Share of the gate's comparisons; None if all were decided."""
    counts = (row.decided or {}).get("gate")
    if counts is None or counts.decided >= counts.comparisons:
        return None
    return percent(counts.decided / counts.comparisons)


def _forgotten(row: RoundMetrics) -> str | None:
    lost = row.forgotten
    return f"{lost.count} of {lost.compared}" if lost and lost.model_fields_set else None


def _overlap(row: RoundMetrics) -> str | None:
    overlap = row.overlap
    return (
        f"{overlap.prompts} of {overlap.of}"
        if overlap is not None and overlap.model_fields_set
        else None
    )


def _count(flags: Iterable[bool]) -> str | None:
    """How many are set, of how many; None without any."""
    given = list(flags)
    return f"{sum(given)} of {len(given)}" if given else None


def _kappa(row: RoundMetrics) -> str | None:
    lowest = lowest_kappa(row)
    return None if lowest is None else f"{lowest:.2f}"
