"""Two tables of the first screen: what rounds cost, and what casts doubt on their win rates."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.cells import Column, TableSection, count, table_by_round
from reporting.costs import CostNumbers, cost_scope, rest_cost, round_cost, whole_cost
from reporting.label_gains import PER, LabelGains, format_points, label_gains
from reporting.number_formats import (
    MISSING,
    format_duration,
    format_metric,
    format_number,
)
from reporting.numbers import lowest_kappa
from reporting.summary import CampaignSummary

_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("seconds", "time", format_duration),
    ("gpu_seconds", "GPU time", format_duration),
    ("cpu_seconds", "CPU time", format_duration),
    ("tokens_in", "tokens in", count),
    ("tokens_out", "tokens out", count),
    ("labels", "labels", count),
    ("human", "human", count),
    ("money", "money", lambda value: format_number("money", value)),
)


def cost_table(summary: CampaignSummary) -> TableSection:
    """Cost per round, of the rest and of the whole, and the gain per label."""
    gains = {gain.round: gain for gain in label_gains(summary)}
    costs = [
        (str(row.round), round_cost(row), _points(gains.get(row.round))) for row in summary.rounds
    ]
    rest, whole = rest_cost(summary), whole_cost(summary)
    if rest is not None:
        costs.append(("other", rest, None))
    costs.append(("all", whole, None))
    shown = [name for name in _COSTS if getattr(whole, name[0])]
    rows = [(name, *_costs(cost, shown), points or MISSING) for name, cost, points in costs]
    header = ("round", *(title for _, title, _ in shown), f"wins per {PER} labels")
    if not gains:
        header, rows = header[:-1], [row[:-1] for row in rows]
    scope = f"all: {cost_scope(summary)}"
    if rest is not None:
        scope += " · other: base and unfinished rounds"
    note = (
        f"time: wall time of the steps, all attempts · {scope} · labels: verdicts of judges and "
        f"people · wins per {PER} labels: points of win rate over the previous policy, credited "
        "to labels alone"
    )
    return TableSection("At what price?", note, header, tuple(rows) if shown else ())


def _costs(
    cost: CostNumbers, shown: Sequence[tuple[str, str, Callable[[float], str]]]
) -> Iterator[str]:
    for name, _, write in shown:
        value = getattr(cost, name)
        yield MISSING if value is None else write(value)


def _points(gains: LabelGains | None) -> str | None:
    return None if gains is None or gains.win_rate is None else format_points(gains.win_rate)


def trust_table(summary: CampaignSummary) -> TableSection:
    """Findings that cast doubt on the win rate of a round."""
    columns: list[Column] = [
        ("LC wins vs base", _controlled),
        ("decided", _decided),
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


def _controlled(row: RoundMetrics) -> str | None:
    if row.lc_win_rate_base is None:
        return None
    text = format_metric(row, "lc_win_rate_base")
    return f"{text} extrapolated" if row.lc_win_rate_base_extrapolated else text


def _decided(row: RoundMetrics) -> str | None:
    """Share of the gate's comparisons; None if all were decided."""
    counts = (row.decided or {}).get("gate")
    if counts is None or counts.decided >= counts.comparisons:
        return None
    return format_number("decided_share", counts.decided / counts.comparisons)


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
    return None if lowest is None else format_number("kappa", lowest)
