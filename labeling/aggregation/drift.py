"""Detect that a source judges differently than in earlier rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dpo_core.records import person
from labeling.aggregation.agreement import Rate

Measure = Literal["agreement", "gold"]
Measured = Mapping[str, Mapping[Measure, Rate]]
"""source → its agreement with the others, and its accuracy on gold, in one round."""

LEAST = 5
"""Fewest pairs, now and before, for an alarm."""

_NAMES: Mapping[Measure, str] = {
    "agreement": "agreement with the others",
    "gold": "accuracy on gold pairs",
}


@dataclass(frozen=True)
class Drift:
    """One measure of one source: `before` over all earlier rounds, and `now`.

    fall: before − now. alarm: whether the fall exceeds `drift_alarm`, with at least LEAST pairs
    before and now. sentence: the warning, with an alarm.
    """

    source: str
    measure: Measure
    before: float
    n_before: int
    now: float
    n_now: int
    fall: float
    alarm: bool
    sentence: str | None


def drift_measures(
    with_others: Mapping[str, Rate], gold: Mapping[str, Rate]
) -> dict[str, dict[Measure, Rate]]:
    """source → its measures in one round.

    Args:
        with_others: source → agreement with the other sources.
        gold: annotator → accuracy on gold pairs.
    """
    rates: dict[str, dict[Measure, Rate]] = {s: {"agreement": r} for s, r in with_others.items()}
    for name, rate in gold.items():
        if rate.n:
            rates.setdefault(person(name), {})["gold"] = rate
    return rates


def detect_drift(earlier: Sequence[Measured], now: Measured, alarm: float) -> list[Drift]:
    """The drift of every measure taken both now and before; alarm: largest tolerated fall."""
    return [
        _drift(source, measure, pooled, rate, alarm)
        for source, rates in sorted(now.items())
        for measure, rate in rates.items()
        if (pooled := _pooled(earlier, source, measure)).n and rate.n
    ]


def _pooled(earlier: Sequence[Measured], source: str, measure: Measure) -> Rate:
    """The rate over all earlier rounds, so that many small falls add up."""
    rates = [m[source][measure] for m in earlier if measure in m.get(source, {})]
    n = sum(rate.n for rate in rates)
    return Rate(sum((rate.value or 0.0) * rate.n for rate in rates) / n if n else None, n)


def _drift(source: str, measure: Measure, before: Rate, now: Rate, alarm: float) -> Drift:
    was, is_now = before.value or 0.0, now.value or 0.0
    fall = was - is_now
    alarmed = fall > alarm and min(before.n, now.n) >= LEAST
    sentence = (
        f"{source}: {_NAMES[measure]} fell from {was:.1%} (n = {before.n}) to {is_now:.1%} "
        f"(n = {now.n}): check its latest answers, or retract them"
    )
    return Drift(
        source, measure, was, before.n, is_now, now.n, fall, alarmed, sentence if alarmed else None
    )
