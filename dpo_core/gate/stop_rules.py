"""When a campaign ends before its last round: a pure function of the rounds' numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.facts import incumbent_round
from dpo_core.campaign.rollbacks import Rollback, chosen, left_behind
from dpo_core.gate.config import PlateauConfig, StopConfig
from dpo_core.records import is_person
from dpo_core.text import counted

Row = Mapping[str, Any]


@dataclass(frozen=True)
class StopReason:
    """Why a campaign ended early: the rule's name, and what happened in a sentence."""

    rule: str
    sentence: str


def stop_rule(
    rows: Sequence[Row], config: StopConfig, people: Sequence[Rollback] = ()
) -> StopReason | None:
    """The first rule that forbids another round after the rounds of `rows`; None when none does.

    people: where a person let another policy go on than the gate.
    """
    return next(_broken(rows, config, people), None)


def _broken(
    rows: Sequence[Row], config: StopConfig, people: Sequence[Rollback]
) -> Iterator[StopReason]:
    if config.rounds is not None and len(rows) >= config.rounds:
        yield StopReason("rounds", f"{len(rows)} of {counted(config.rounds, 'round')} are played")
    if config.plateau is not None and _flat(rows, config.plateau, people):
        rounds, gain = config.plateau.rounds, config.plateau.gain
        many = f"{rounds} rounds in a row" if rounds > 1 else "a round"
        yield StopReason(
            "plateau",
            f"{many} brought no promoted policy that gained more than {gain:g} of the win rate "
            "against the base",
        )
    for name, budget, spent, unit in _budgets(rows, config):
        if budget is not None and spent >= budget:
            yield StopReason(name, f"{spent:.4g} of {budget:g} {unit} are spent")


def _budgets(
    rows: Sequence[Row], config: StopConfig
) -> Iterator[tuple[str, float | None, float, str]]:
    yield "gpu_hours", config.gpu_hours, _sum(rows, "gpu_seconds") / 3600, "GPU-hours"
    yield "labels", config.labels, _labels(rows), "labels"
    yield "money", config.money, _sum(rows, "money"), "of money"
    yield "hours", config.hours, sum(map(_seconds, rows)) / 3600, "hours"


def _sum(rows: Sequence[Row], name: str) -> float:
    return sum((row.get(name) or 0.0 for row in rows), 0.0)


def _seconds(row: Row) -> float:
    """Of all that was done for the round: refused attempts count."""
    by_step = row.get("cost_by_step") or {}
    return sum(one["seconds"] for one in by_step.values()) or row.get("seconds_round") or 0.0


def _labels(rows: Sequence[Row]) -> float:
    """Those of people; where nobody was asked, those of all judges."""
    counts = [(row.get("labels_by_source") or {}) for row in rows]
    people = [n for by in counts for source, n in by.items() if is_person(source)]
    return float(sum(people) if people else sum(n for by in counts for n in by.values()))


def _flat(rows: Sequence[Row], plateau: PlateauConfig, people: Sequence[Rollback]) -> bool:
    gains = _gains(rows, people)[-plateau.rounds :]
    return len(gains) == plateau.rounds and all(gain <= plateau.gain for gain in gains)


def _gains(rows: Sequence[Row], people: Sequence[Rollback]) -> list[float]:
    """What each round added to the win rate against the base, on gate prompts: nothing where its
    policy was not promoted, or chosen by a person. Rounds that a person went back before say
    neither that there was a gain nor that there was none."""
    last = max((row["round"] for row in rows), default=0)
    gone, taken = left_behind(people, last), chosen(people, last)
    by_round = {row["round"]: row for row in rows}
    gains = {}
    for number, row in by_round.items():
        began = by_round.get(incumbent_round(by_round, people, number - 1), _BASE)
        counts = number in taken or row.get("promoted")
        gains[number] = _gain(began, row) if counts else 0.0
    return [gain for number, gain in gains.items() if number not in gone]


_BASE: Row = {}


def _gain(began: Row, row: Row) -> float:
    """By the win rate that the gate goes by; by the plain one where one of the two is
    extrapolated; campaigns of older versions have that on test."""
    names = ["lc_win_rate_gate_base", "win_rate_gate_base", "win_rate_base"]
    if any(each.get("lc_win_rate_gate_base_extrapolated") for each in (began, row)):
        names.pop(0)
    before, after = (
        next((float(each[name]) for name in names if each.get(name) is not None), 0.5)
        for each in (began, row)
    )
    return after - before
