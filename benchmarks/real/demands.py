"""What is demanded of the experiment: fixed before the first run, measured, met or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.real import numbers
from benchmarks.real.results import Result
from dpo_core.evaluation.intervals import Interval

TEST_PROMPTS, MINUTES, NATS = 500, 60.0, 2.0
FLOOR, FLOOR_LOW, TARGET = 0.15, 0.10, 0.25
LENGTH, RELEVANCE_FALL = 0.30, 0.03
IFEVAL_FALL, IFEVAL_TARGET = 0.03, 0.03


@dataclass(frozen=True)
class Finding:
    """A value as it is shown, and whether it is what was demanded."""

    value: str
    met: bool


Measure = Callable[[Sequence[Result]], Finding | None]
"""None where the results do not have it."""


@dataclass(frozen=True)
class Demand:
    """pooled: of all seeds together, and not of each."""

    what: str
    measure: Measure
    pooled: bool = False

    def of(self, result: Result) -> Finding | None:
        """Of one seed."""
        return self.measure([result])

    def verdict(self, results: Sequence[Result], seeds: Sequence[int]) -> str:
        """Whether it is met: by all seeds that there should be, or by them together."""
        if self.pooled:
            found = self.measure(results)
            failed = ["pooled"] if found and not found.met else []
            open_ = found is None
        else:
            each = {result.seed: self.of(result) for result in results}
            failed = [f"seed {seed}" for seed, found in each.items() if found and not found.met]
            open_ = not each or any(found is None for found in each.values())
        missing = sorted(set(seeds) - {result.seed for result in results})
        if failed:
            return f"**no** ({', '.join(failed)})" if not self.pooled else "**no**"
        if open_:
            return "not measured"
        return f"so far (without seed {', '.join(map(str, missing))})" if missing else "yes"


def points(found: Interval) -> str:
    """A change of a share."""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def _change(pairs: numbers.Pairs, name: str, met: Callable[[Interval], bool]) -> Finding | None:
    found = numbers.change(pairs, name) if pairs else None
    return Finding(points(found), met(found)) if found is not None else None


def _followed(met: Callable[[Interval], bool]) -> Measure:
    return lambda results: _change(numbers.trained(results), "followed", met)


def _prompts(results: Sequence[Result]) -> Finding:
    fewest = min(len(result.trained.groups) for result in results)
    return Finding(f"{fewest}", fewest >= TEST_PROMPTS)


def _no_step_back(results: Sequence[Result]) -> Finding:
    """The lowest change of the followed share in a promoted round."""
    changes = [
        found
        for result in results
        for row in result.rounds
        if row["promoted"] and (found := step(result, row["round"])) is not None
    ]
    if not changes:
        return Finding("no round promoted", met=True)
    lowest = min(changes, key=lambda found: found.high)
    return Finding(points(lowest), lowest.high >= 0)


def step(result: Result, number: int) -> Interval | None:
    """What a round changed of the followed share of the policy that it started from."""
    before = numbers.predecessor(result, number)
    return numbers.change([(result.trained, number, before)], "followed")


def _relevance(results: Sequence[Result]) -> Finding | None:
    return _change(
        numbers.trained(results), "relevant", lambda found: found.estimate >= -RELEVANCE_FALL
    )


def _length(results: Sequence[Result]) -> Finding | None:
    ratios = [found for r in results if (found := numbers.length_ratio(r)) is not None]
    if not ratios:
        return None
    shown = ", ".join(f"{100 * (found - 1):+.0f} %" for found in ratios)
    return Finding(shown, all(abs(found - 1) <= LENGTH for found in ratios))


def _kl(results: Sequence[Result]) -> Finding | None:
    rows = [row for r in results for row in r.rounds if row["round"] == r.final]
    if not rows or any(row["kl_base_nats"] is None for row in rows):
        return None
    shown = ", ".join(
        f"{row['kl_base_nats']:.2f} [{row['kl_base_nats_low']:.2f}, {row['kl_base_nats_high']:.2f}]"
        for row in rows
    )
    return Finding(shown, all(row["kl_base_nats"] <= NATS for row in rows))


def _minutes(results: Sequence[Result]) -> Finding:
    longest = max(map(numbers.minutes, results))
    return Finding(f"{longest:.0f}", longest <= MINUTES)


DEMANDS: Sequence[Demand] = (
    Demand(f"at least {TEST_PROMPTS} test prompts", _prompts),
    Demand(
        f"followed share, points above the base: floor +{100 * FLOOR:.0f} with the low end at "
        f"+{100 * FLOOR_LOW:.0f} or more",
        _followed(lambda found: found.estimate >= FLOOR and found.low >= FLOOR_LOW),
    ),
    Demand(
        f"the same: target +{100 * TARGET:.0f}", _followed(lambda found: found.estimate >= TARGET)
    ),
    Demand("no promoted round clearly below the policy it started from, points", _no_step_back),
    Demand(f"relevance@8 at most {100 * RELEVANCE_FALL:.0f} points below the base's", _relevance),
    Demand(
        "cut share below the base's, points",
        lambda results: _change(numbers.trained(results), "cut", lambda found: found.estimate < 0),
    ),
    Demand(f"mean length of finished answers within {100 * LENGTH:.0f} % of the base's", _length),
    Demand(f"KL to the base at most {NATS:.0f} nats", _kl),
    Demand(
        "kinds never trained on: not clearly worse, points",
        lambda results: _change(
            numbers.after(results, "unseen"), "followed", lambda found: found.high >= 0
        ),
    ),
    Demand(
        f"IFEval, prompt-level strict, points: floor, low end at -{100 * IFEVAL_FALL:.0f} or more",
        lambda results: _change(
            numbers.after(results, "ifeval"), "followed", lambda found: found.low >= -IFEVAL_FALL
        ),
        pooled=True,
    ),
    Demand(
        f"the same: target +{100 * IFEVAL_TARGET:.0f}",
        lambda results: _change(
            numbers.after(results, "ifeval"),
            "followed",
            lambda found: found.estimate >= IFEVAL_TARGET,
        ),
        pooled=True,
    ),
    Demand(f"at most {MINUTES:.0f} minutes on two idle cores, without IFEval", _minutes),
)
