"""Stop rules, which end a campaign early: pure functions of the metrics of its rounds."""

from collections.abc import Iterator, Sequence

from dpo_core.campaign.current import StopReason
from dpo_core.campaign.facts import incumbent_round
from dpo_core.campaign.rollbacks import Rollback, chosen, left_behind
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.gate.checks import format_points
from dpo_core.gate.config import PlateauConfig, StopConfig
from dpo_core.records import is_person
from dpo_core.text import counted


def stop_rule(
    rows: Sequence[RoundMetrics], config: StopConfig, people: Sequence[Rollback] = ()
) -> StopReason | None:
    """The first stop rule that applies after the rounds of `rows`.

    Args:
        rows: metrics of the finished rounds.
        config: section `stop` of the config.
        people: rollbacks by a person, which override the gate.

    Returns:
        None if the campaign may run another round.

    Example:
        >>> stop_rule([RoundMetrics(round=1), RoundMetrics(round=2)], StopConfig(rounds=2))
        StopReason(rule='rounds', sentence='2 of 2 rounds done')
    """
    return next(_applicable(rows, config, people), None)


def _applicable(
    rows: Sequence[RoundMetrics], config: StopConfig, people: Sequence[Rollback]
) -> Iterator[StopReason]:
    if config.rounds is not None and len(rows) >= config.rounds:
        yield StopReason("rounds", f"{len(rows)} of {counted(config.rounds, 'round')} done")
    if config.plateau is not None and _flat(rows, config.plateau, people):
        rounds, gain = config.plateau.rounds, config.plateau.gain
        streak = f"for {rounds} rounds in a row" if rounds > 1 else "in one round"
        yield StopReason(
            "plateau",
            f"no promoted policy gained more than {format_points(gain)} of win rate vs. base "
            f"{streak}",
        )
    for name, budget, spent, unit in _budgets(rows, config):
        if budget is not None and spent >= budget:
            yield StopReason(name, f"{spent:.4g} of {budget:g} {unit} used")


def _budgets(
    rows: Sequence[RoundMetrics], config: StopConfig
) -> Iterator[tuple[str, float | None, float, str]]:
    yield "gpu_hours", config.gpu_hours, _sum(rows, "gpu_seconds") / 3600, "GPU-hours"
    yield "labels", config.labels, _labels(rows), "labels"
    yield "money", config.money, _sum(rows, "money"), "money"
    yield "hours", config.hours, sum(map(_seconds, rows)) / 3600, "hours"


def _sum(rows: Sequence[RoundMetrics], name: str) -> float:
    return sum((row.number(name) or 0.0 for row in rows), 0.0)


def _seconds(row: RoundMetrics) -> float:
    """Wall time of the round, rejected attempts included."""
    by_step = (row.cost_by_step or {}).values()
    return sum(cost.seconds or 0.0 for cost in by_step) or row.seconds_round or 0.0


def _labels(rows: Sequence[RoundMetrics]) -> float:
    """Human labels; those of all judges if no person was asked."""
    counts = [(row.labels_by_source or {}) for row in rows]
    people = [n for by in counts for source, n in by.items() if is_person(source)]
    return float(sum(people) if people else sum(n for by in counts for n in by.values()))


def _flat(rows: Sequence[RoundMetrics], plateau: PlateauConfig, people: Sequence[Rollback]) -> bool:
    gains = _gains(rows, people)[-plateau.rounds :]
    return len(gains) == plateau.rounds and all(gain <= plateau.gain for gain in gains)


def _gains(rows: Sequence[RoundMetrics], people: Sequence[Rollback]) -> list[float]:
    """Gain of each round in win rate against the base on gate prompts; 0 if its policy was neither
    promoted nor chosen by a person. Rounds that a person rolled back are left out."""
    last = max((row.round for row in rows), default=0)
    rolled_back, picked = left_behind(people, last), chosen(people, last)
    by_round = {row.round: row for row in rows}
    gains = {}
    for number, row in by_round.items():
        began = by_round.get(incumbent_round(by_round, people, number - 1), _BASE)
        counts = number in picked or row.promoted
        gains[number] = _gain(began, row) if counts else 0.0
    return [gain for number, gain in gains.items() if number not in rolled_back]


_BASE = RoundMetrics(round=0)


def _gain(start_row: RoundMetrics, end_row: RoundMetrics) -> float:
    """By the gate's win rate; by the plain one if either is extrapolated. Campaigns of older
    versions only have the win rate on test prompts."""
    names = ["lc_win_rate_gate_base", "win_rate_gate_base", "win_rate_base"]
    if start_row.lc_win_rate_gate_base_extrapolated or end_row.lc_win_rate_gate_base_extrapolated:
        names.pop(0)
    before, after = (
        next((rate for name in names if (rate := row.number(name)) is not None), 0.5)
        for row in (start_row, end_row)
    )
    return after - before
