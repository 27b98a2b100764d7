"""What rounds cost: GPU and CPU time, tokens, labels, and money by the config's prices.

Read from the ledger. A step counts every time it was made: a step that a later run takes from disk
keeps its cost, and a round that was made again, with another config or another attempt, costs both.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dpo_core.campaign.layout import DRAW
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.prices import PricesConfig
from dpo_core.campaign.round_parts import CampaignCost, StepCost
from dpo_core.campaign.step_facts import LabelsFacts, SampledFacts, StepCosts
from dpo_core.records import HUMAN, Cost, is_person, person

_PEOPLE = HUMAN.rstrip(":")
"""Whoever labels and is not named."""

SECONDS_PER_HOUR = 3600.0
_PER_MILLION = 1e6

_BATCH = re.compile(rf"(_gate_|{DRAW})\d+.*")
"""Steps of a certified gate are named after the prompts that they take, and those of several draws
after these: their kind costs."""


@dataclass(frozen=True)
class Spent:
    """What steps took. None: it was not measured, as in campaigns of older versions.

    unpriced: tokens (in, out) of models that no price of a judge's own pays; judges: what those
    prices came to; labels: source → verdicts.
    """

    seconds: float = 0.0
    cpu_seconds: float | None = 0.0
    gpu_seconds: float | None = 0.0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    unpriced: tuple[int, int] = (0, 0)
    judges: float = 0.0
    labels: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Spent") -> "Spent":
        """Of different rounds or steps together."""
        both = {*self.labels, *other.labels}
        labels = {who: self.labels.get(who, 0) + other.labels.get(who, 0) for who in both}
        return self._with(other, labels)

    def again(self, other: "Spent") -> "Spent":
        """Of one step that was made twice: both hold the same labels, or one of them more."""
        both = {*self.labels, *other.labels}
        labels = {who: max(self.labels.get(who, 0), other.labels.get(who, 0)) for who in both}
        return self._with(other, labels)

    def _with(self, other: "Spent", labels: Mapping[str, int]) -> "Spent":
        return Spent(
            self.seconds + other.seconds,
            _sum(self.cpu_seconds, other.cpu_seconds),
            _sum(self.gpu_seconds, other.gpu_seconds),
            _sum(self.tokens_in, other.tokens_in),
            _sum(self.tokens_out, other.tokens_out),
            (self.unpriced[0] + other.unpriced[0], self.unpriced[1] + other.unpriced[1]),
            self.judges + other.judges,
            labels,
        )


def round_cost(entries: Iterable[Entry], number: int, prices: PricesConfig) -> CampaignCost:
    """What round `number` cost."""
    return campaign_cost((entry for entry in entries if entry.round == number), prices)


def campaign_cost(entries: Iterable[Entry], prices: PricesConfig) -> CampaignCost:
    """What all of `entries` cost, of whatever rounds."""
    spent_by_step: dict[tuple[int, str], Spent] = {}
    for entry in entries:
        which = (entry.round, entry.step)
        spent_by_step[which] = spent_by_step.get(which, Spent()).again(spent(entry))
    by_step: dict[str, Spent] = {}
    for (_, made_by), one in spent_by_step.items():
        step = _BATCH.sub("", made_by)
        by_step[step] = by_step.get(step, Spent()) + one
    whole = sum(by_step.values(), Spent())
    return CampaignCost(
        gpu_seconds=_rounded(whole.gpu_seconds),
        cpu_seconds=_rounded(whole.cpu_seconds),
        tokens_in=whole.tokens_in,
        tokens_out=whole.tokens_out,
        labels_by_source=dict(sorted(whole.labels.items())),
        money=total(money(whole, prices)),
        money_by=money(whole, prices),
        currency=prices.currency,
        cost_by_step={s: _step_cost(one, prices) for s, one in by_step.items() if one.seconds},
    )


def spent(entry: Entry) -> Spent:
    """What one making of a step took."""
    costs, written = StepCosts.read(entry.facts), 0
    read: int | None = 0
    if "seconds_engine" in entry.facts:  # imported tokens are nobody's work
        sampled = SampledFacts.read(entry.facts)
        read, written = sampled.prompt_tokens, sampled.tokens
    judged = costs.judges_spent.values()
    free = sum((one for one in judged if not one.money), Cost())
    paid = sum(judged, Cost())
    return Spent(
        entry.seconds,
        costs.cpu_seconds if entry.seconds else 0.0,
        costs.gpu_seconds if entry.seconds else 0.0,
        _sum(read, paid.tokens_in),
        written + paid.tokens_out,
        ((read or 0) + free.tokens_in, written + free.tokens_out),
        paid.money,
        _labels(entry),
    )


def money(spent: Spent, prices: PricesConfig) -> dict[str, float | None]:
    """What each part costs; None where its price is not known. What was not used is left out."""
    tokens_in, tokens_out = spent.unpriced
    parts = {
        "gpu": _times(spent.gpu_seconds, prices.gpu_hour, SECONDS_PER_HOUR),
        "cpu": _times(spent.cpu_seconds, prices.cpu_hour, SECONDS_PER_HOUR),
        "tokens": _sum(
            _times(tokens_in, prices.million_tokens_in, _PER_MILLION),
            _times(tokens_out, prices.million_tokens_out, _PER_MILLION),
        ),
        "labels": _labels_money(spent.labels, prices.label),
        "judges": spent.judges,
    }
    used = {
        "gpu": spent.gpu_seconds != 0,
        "cpu": spent.cpu_seconds != 0,
        "tokens": bool(tokens_in or tokens_out),
        "labels": any(map(is_person, spent.labels)) or bool(parts["labels"]),
        "judges": bool(spent.judges),
    }
    return {name: value for name, value in parts.items() if used[name]}


def total(parts: Mapping[str, float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in parts.values() if value is not None]
    return sum(known) if known else None


def _step_cost(spent: Spent, prices: PricesConfig) -> StepCost:
    return StepCost(
        seconds=_rounded(spent.seconds),
        cpu_seconds=_rounded(spent.cpu_seconds),
        gpu_seconds=_rounded(spent.gpu_seconds),
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        money=total(money(spent, prices)),
    )


def _labels(entry: Entry) -> dict[str, int]:
    if entry.step == "judgements":
        judges = entry.facts.get("judges", {})
        return {source: int(did["pairs"]) for source, did in judges.items()}
    if entry.step == "labels":
        by_annotator = LabelsFacts.read(entry.facts).by_annotator
        return {person(name): count for name, count in by_annotator.items()}
    return {}


def _labels_money(
    labels: Mapping[str, int], price: float | Mapping[str, float] | None
) -> float | None:
    """None where some that people gave have no price; judges without one are paid otherwise."""
    if price is None:
        return None if any(map(is_person, labels)) else 0.0
    by_source = price if isinstance(price, Mapping) else {_PEOPLE: price}
    sums = [
        _times(count, by_source.get(source, by_source.get(_PEOPLE) if is_person(source) else 0.0))
        for source, count in labels.items()
    ]
    return None if None in sums else sum(one for one in sums if one is not None)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _times(amount: float | None, price: float | None, unit: float = 1.0) -> float | None:
    """0 where nothing was used, whatever it costs."""
    if amount == 0:
        return 0.0
    return None if amount is None or price is None else amount / unit * price


def _sum(first: Any, second: Any) -> Any:
    return None if first is None or second is None else first + second
