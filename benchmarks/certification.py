"""How often a gate promotes what is not better, over campaigns: certified, and by an interval.

    python -m benchmarks.certification [--campaigns 1000] [--json FILE]

Campaigns of 20 rounds are drawn in which nothing is learnt, or only in the first one to three
rounds (which win 0.6); a promotion of a policy that is not better is false. The certified gate
(gate.false_promotions 0.05) stands beside the one that compares the lower end of a bootstrap
interval with one half, on the same 256 prompts each time. Prompts differ in how easily they are
won, and those differences stay from one candidate to the next. Then the power: how many prompts
the certified gate takes, beside a test of a fixed number of them at the same level.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import add_json_option, machine, write_result
from dpo_core.evaluation.certification import allowance, log_wealth
from dpo_core.evaluation.statistics import win_rate

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROUNDS = 20
FALSE_PROMOTIONS = 0.05
_SURE = 1.96
FIRST_PROMPTS, AT_MOST = 256, 1024
TRUE_WIN_RATE = 0.6
RETRIES = (0, 1, 3)
RATES = (0.52, 0.55, 0.6, 0.7)
GROUP = 4
PLANS = (3, ROUNDS, ROUNDS * 4)
"""Numbers of planned decisions for which power is measured."""
SPREAD = 0.15
"""Standard deviation of the win rate from prompt to prompt, the same for all candidates."""


@dataclass(frozen=True)
class Kind:
    """What comparisons are like. undecided: their share; at_threshold: wins make up for them, so
    that E[Y] is one half exactly and the claim is at its hardest; grouped: four prompts that come
    out alike for the most part."""

    name: str
    ties: float = 0.0
    undecided: float = 0.0
    at_threshold: bool = False
    grouped: bool = False


KINDS = (
    Kind("wins and losses"),
    Kind("60 % ties", ties=0.6),
    Kind("10 % undecided", undecided=0.1),
    Kind("10 % undecided, E[Y] = 1/2", undecided=0.1, at_threshold=True),
    Kind("groups of 4", ties=0.2, grouped=True),
)


class Prompts:
    """Prompts without end, in hash order, one row per campaign: how much easier than the average
    each is to win, and outcomes of candidates on them. A promotion moves a campaign on to prompts
    that it has not used; a refusal does not."""

    def __init__(self, campaigns: int, kind: Kind, rng: np.random.Generator) -> None:
        self.kind, self.rng = kind, rng
        self.ease = self._new(campaigns)

    def _new(self, campaigns: int) -> Floats:
        units = AT_MOST // GROUP if self.kind.grouped else AT_MOST
        ease = self.rng.normal(0, SPREAD, (campaigns, units)).clip(-0.3, 0.3)
        return ease.repeat(GROUP, axis=1) if self.kind.grouped else ease

    def renew(self, promoted: Flags) -> None:
        self.ease[promoted] = self._new(int(promoted.sum()))

    def outcomes(self, rate: float) -> Floats:
        """A candidate's outcomes, one column per prompt: NaN where undecided. The mean of what was
        decided is `rate`, or what makes up for the rest."""
        kind, shape = self.kind, self.ease.shape
        makes_up = 0.5 * kind.undecided / (1 - kind.undecided) if kind.at_threshold else 0.0
        draws = self.rng.random(shape)
        if kind.grouped:  # three in four prompts come out as the first of their group
            alike = self.rng.random(shape) < 0.75
            draws = np.where(alike, draws[:, ::GROUP].repeat(GROUP, axis=1), draws)
        won = (draws < rate + makes_up + self.ease).astype(np.float64)
        found = np.where(self.rng.random(shape) < kind.ties, 0.5, won)
        return np.where(self.rng.random(shape) < kind.undecided, np.nan, found)


def certified(outcomes: Floats, alpha: float, grouped: bool) -> Flags:
    """Which campaigns promote: e ≥ 1/α at any time, and what is undecided counts as lost."""
    values = np.nan_to_num(outcomes, nan=0.0)
    if grouped:
        path = log_wealth(values.reshape(len(values), -1, GROUP).mean(axis=2), 0.5)
    else:
        path = _table()[(values == 1).cumsum(axis=1), (values == 0).cumsum(axis=1)]
    return np.asarray((path >= -np.log(alpha)).any(axis=1))


@cache
def _table() -> Floats:
    """log_wealth by the numbers of wins and losses, on which alone it depends at one half."""
    table = np.zeros((AT_MOST + 1, AT_MOST + 1))
    for wins in range(AT_MOST + 1):
        path = log_wealth([1.0] * wins + [0.0] * (AT_MOST - wins), 0.5)
        table[wins, : AT_MOST - wins + 1] = np.concatenate([[0.0], path])[wins:]
    return table


def by_interval(outcomes: Floats) -> Flags:
    """Which campaigns promote by the lower end of the 95 % interval over the first prompts, of
    those that were decided. Where the normal interval is far from one half it says the same."""
    first = outcomes[:, :FIRST_PROMPTS]
    decided = (~np.isnan(first)).sum(axis=1)
    z = (np.nanmean(first, axis=1) - 0.5) / (np.nanstd(first, axis=1) / np.sqrt(decided))
    passed = z > _SURE
    for campaign in np.flatnonzero(np.abs(z - _SURE) < 0.1):
        found = first[campaign]
        low = win_rate(list(found[~np.isnan(found)]), resamples=1000).low
        passed[campaign] = low > 0.5
    return np.asarray(passed)


@dataclass(frozen=True)
class Cell:
    """Of so many campaigns: how many had a false promotion, certified and by the interval; how many
    rounds were better, and how many of these the certified gate promoted."""

    learns: bool
    retries: int
    kind: str
    campaigns: int
    false_certified: int
    false_by_interval: int
    better_rounds: int
    better_promoted: int


def cell(campaigns: int, kind: Kind, retries: int, *, learns: bool, seed: int) -> Cell:
    """Both gates over the same kind of campaigns, each on its own draws."""
    rng = np.random.default_rng(seed)
    learnt = rng.integers(1, 4, campaigns) if learns else np.zeros(campaigns, dtype=np.int64)
    alpha = allowance(1, ROUNDS * (1 + retries), FALSE_PROMOTIONS)

    def certify(outcomes: Floats) -> Flags:
        return certified(outcomes, alpha, kind.grouped)

    prompts = Prompts(campaigns, kind, rng)
    false, promoted = play(prompts, learnt, retries, certify, renews=True)
    today, _ = play(Prompts(campaigns, kind, rng), learnt, retries, by_interval, renews=False)
    counts = (false.sum(), today.sum(), learnt.sum(), promoted.sum())
    return Cell(learns, retries, kind.name, campaigns, *map(int, counts))


def play(
    prompts: Prompts,
    learnt: npt.NDArray[np.int64],
    retries: int,
    gate: Callable[[Floats], Flags],
    *,
    renews: bool,
) -> tuple[Flags, npt.NDArray[np.int64]]:
    """Which campaigns had a false promotion, and how many better rounds each promoted.

    learnt: of each campaign, how many rounds are better before none is. renews: whether prompts
    that were used for a promotion are used no more.
    """
    false, right = np.zeros(len(learnt), dtype=bool), np.zeros_like(learnt)
    for number in range(1, ROUNDS + 1):
        better, promoted = number <= learnt, np.zeros(len(learnt), dtype=bool)
        for _ in range(1 + retries):
            outcomes = prompts.outcomes(0.5)
            if better.any():
                outcomes = np.where(better[:, None], prompts.outcomes(TRUE_WIN_RATE), outcomes)
            promoted |= gate(outcomes)  # what was promoted stays so: it is not tried again
        false |= promoted & ~better
        right += promoted & better
        if renews:
            prompts.renew(promoted)
    return false, right


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share: where each tail of the binomial has half of what is left."""
    tail = (1 - confidence) / 2

    def solve(above: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if above(middle) else (middle, high)
        return (low + high) / 2

    lowest = solve(lambda p: at_least(hits, trials, p) > tail) if hits else 0.0
    highest = solve(lambda p: at_least(hits + 1, trials, p) > 1 - tail) if hits < trials else 1.0
    return lowest, highest


def at_least(hits: int, trials: int, p: float) -> float:
    """P(X ≥ hits) for X of a binomial distribution."""
    return float(binomial(trials, p)[hits:].sum())


def binomial(trials: int, p: float) -> Floats:
    """P(X = k) for k from 0 to `trials`, 0 < p < 1."""
    k = np.arange(trials + 1)
    logs = _log_factorials(trials)
    chosen = logs[trials] - logs[k] - logs[trials - k]
    return np.asarray(np.exp(chosen + k * np.log(p) + (trials - k) * np.log1p(-p)))


def _log_factorials(n: int) -> Floats:
    return np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])


def fixed_sample(rate: float, alpha: float, power: float) -> int:
    """How many prompts the exact binomial test of one half at level `alpha` takes for `power`."""
    low, high = 1, 1
    while power_of(high, rate, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:  # power has small teeth: this finds one of the crossings
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle, rate, alpha) >= power else (middle, high)
    return high


def power_of(trials: int, rate: float, alpha: float) -> float:
    """Of that test with so many prompts, against the true win rate `rate`."""
    tails = binomial(trials, 0.5)[::-1].cumsum()  # P(X ≥ n), P(X ≥ n − 1) …
    rejected = int((tails <= alpha).sum())
    return float(binomial(trials, rate)[::-1][:rejected].sum())


@dataclass(frozen=True)
class Power:
    """Prompts until a policy with this true win rate is promoted at α_k: the median of the
    certified gate; how many a fixed number takes for a power of one half, and of 80 %."""

    rate: float
    alpha: float
    median: float
    fixed_half: int
    fixed_80: int


def power(rate: float, alpha: float, runs: int, seed: int) -> Power:
    half, most = fixed_sample(rate, alpha, 0.5), fixed_sample(rate, alpha, 0.8)
    rng, taken = np.random.default_rng(seed), []
    for _ in range(runs):
        won = (rng.random(3 * most // 2) < rate).astype(np.float64)
        reached = log_wealth(won, 0.5) >= -np.log(alpha)
        taken.append(int(reached.argmax()) + 1 if reached.any() else 10 * most)
    return Power(rate, alpha, float(np.median(taken)), half, most)


def measure(options: Namespace) -> dict[str, Any]:
    started, n = time.monotonic(), options.campaigns
    cells = []
    for seed, (learns, kind, retries) in enumerate(product((False, True), KINDS, RETRIES)):
        cells.append(cell(n, kind, retries, learns=learns, seed=seed))
    plans = [allowance(1, decisions, FALSE_PROMOTIONS) for decisions in PLANS]
    powers = [power(r, alpha, n, seed) for seed, (alpha, r) in enumerate(product(plans, RATES))]
    return {
        "machine": machine(),
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time(),
        "cells": [asdict(each) for each in cells],
        "power": [asdict(each) for each in powers],
    }


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield "learns         retries  comparisons                  false, certified      by interval"
    for found in result["cells"]:
        n = found["campaigns"]
        low, high = clopper_pearson(found["false_certified"], n)
        share = f"{found['false_certified'] / n:6.1%} [{low:.1%}, {high:.1%}]"
        learns = "1 to 3 rounds" if found["learns"] else "nothing"
        yield (
            f"{learns:<14} {found['retries']:>7}  {found['kind']:<28} {share:<21} "
            f"{found['false_by_interval'] / n:>6.1%}"
            + (
                f"  {found['better_promoted']} of {found['better_rounds']} better rounds promoted"
                if found["learns"]
                else ""
            )
        )
    yield ""
    yield "true rate       α_k  median prompts  fixed, power 1/2        80 %  ratios"
    for each in result["power"]:
        ratios = (each["median"] / each["fixed_half"], each["median"] / each["fixed_80"])
        yield (
            f"{each['rate']:>9.2f}  {each['alpha']:.6f}  {each['median']:>14,.0f}  "
            f"{each['fixed_half']:>16,}  {each['fixed_80']:>10,}  {ratios[0]:.2f}, {ratios[1]:.2f}"
        )
    worst = max(found["false_certified"] / found["campaigns"] for found in result["cells"])
    slow = max(each["median"] / each["fixed_half"] for each in result["power"])
    yield ""
    yield f"highest share of campaigns with a false promotion, certified: {worst:.1%} (target 5 %)"
    yield f"most prompts, beside a fixed number at a power of one half: {slow:.2f} times (target 2)"
    yield f"{result['seconds']:.0f} seconds, {result['cpu_seconds']:.0f} of CPU"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m benchmarks.certification", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000, help="per cell")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    result = measure(options)
    print("\n".join(lines(result)))
    write_result(result, options.json)


if __name__ == "__main__":
    main()
