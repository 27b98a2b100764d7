"""What the results say, in sentences: each arm against another, seed by seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.frontier.arms import ARMS, QUESTIONS, Question
from benchmarks.frontier.run import Result

_FURTHER = 1.2
BASE = {"win_rate_base": 0.5, "kl_base_nats": 0.0}
"""Of an arm that promoted nothing: it ends with the base."""

ByArm = Mapping[str, Mapping[int, Result]]


@dataclass(frozen=True)
class Difference:
    """An arm minus another in the seeds that both have.

    `at_equal_kl`: its win rate minus what the other had at the same KL between its rounds, for
    seeds in which the other has rounds on both sides.
    """

    wins: tuple[float, ...]
    kl: float
    at_equal_kl: tuple[float, ...]

    @property
    def word(self) -> str:
        """What the seeds agree on: better, worse, the same, or mixed."""
        if all(value == 0 for value in self.wins) and self.kl == 0:
            return "the same"
        if all(value > 0 for value in self.wins):
            return "better"
        return "worse" if all(value < 0 for value in self.wins) else "mixed"


def by_arm(results: Sequence[Result]) -> ByArm:
    """Finished results by arm, in the order of the arms, and by seed."""
    finished = [result for result in results if result.failed is None]
    return {
        name: {r.seed: r for r in sorted(finished, key=lambda r: r.seed) if r.arm == name}
        for name in ARMS
    }


def value(result: Result, name: str) -> float:
    """A number of the policy with which the arm ends."""
    row = result.last
    if row is None:
        scores = [r["score_mean_base"] for r in result.rounds]
        return float({**BASE, "score_mean": scores[0]}[name])
    return float(row[name])


def difference(ours: Mapping[int, Result], theirs: Mapping[int, Result]) -> Difference | None:
    """Win rates and KL of `ours` minus `theirs`; None without a seed that both have."""
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    wins = [value(ours[s], "win_rate_base") - value(theirs[s], "win_rate_base") for s in seeds]
    kls = [value(ours[s], "kl_base_nats") - value(theirs[s], "kl_base_nats") for s in seeds]
    at_equal = (_at_equal_kl(ours[seed], theirs[seed]) for seed in seeds)
    return Difference(tuple(wins), fmean(kls), tuple(d for d in at_equal if d is not None))


def _at_equal_kl(ours: Result, theirs: Result) -> float | None:
    """The difference to the other's rounds, joined by straight lines up to where it ends.

    Before the first round nothing is known: a line from the base would lie below every concave way.
    """
    kl, end = value(ours, "kl_base_nats"), value(theirs, "kl_base_nats")
    rounds = [row for row in theirs.rounds if row["kl_base_nats"] <= end]
    way = sorted((row["kl_base_nats"], row["win_rate_base"]) for row in rounds)
    if not way or not way[0][0] <= kl <= end:
        return None
    kls, wins = zip(*way, strict=True)
    return value(ours, "win_rate_base") - float(np.interp(kl, kls, wins))


def astray(results: Sequence[Result]) -> Iterator[str]:
    """Rounds that were refused, or that ended further from the base than the arm did, as list
    items; arms that share such a round share its item."""
    found: dict[str, list[str]] = {}
    for name, seeds in by_arm(results).items():
        for seed, result in seeds.items():
            for row in result.rounds:
                if _is_astray(row, value(result, "kl_base_nats")):
                    found.setdefault(_told(seed, row), []).append(f"`{name}`")
    yield from (f"- {', '.join(arms)}: {said}" for said, arms in found.items())


def _is_astray(row: Mapping[str, Any], end: float) -> bool:
    return not row["promoted"] or row["kl_base_nats"] > _FURTHER * end


def _told(seed: int, row: Mapping[str, Any]) -> str:
    formed, fate = row.get("measure_accepted"), "promoted" if row["promoted"] else "refused"
    formed_too = "" if formed is None else f", {formed:.0%} of the answers well formed"
    return (
        f"seed {seed}, round {row['round']}: KL {row['kl_base_nats']:.2f} nats, win rate "
        f"{row['win_rate_base']:.3f}{formed_too}; {fate}."
    )


def sentences(results: Sequence[Result]) -> Iterator[str]:
    """One paragraph per question, as a list item."""
    arms = by_arm(results)
    for question in QUESTIONS:
        said = list(_answers(question, arms))
        if said:
            yield f"- **{question.title}.** {' '.join(said)}"


def _answers(question: Question, arms: ByArm) -> Iterator[str]:
    found = {name: difference(arms[name], arms[question.against]) for name in question.arms}
    for name, one in found.items():
        if one is not None:
            yield _sentence(name, question.against, one, arms)
    words = {name: one.word for name, one in found.items() if one is not None}
    if words:
        yield _simple(question, words)


def _sentence(name: str, other: str, one: Difference, arms: ByArm) -> str:
    seeds = len(one.wins)
    agreed = {
        "the same": "the same policies",
        "mixed": "the seeds disagree",
    }.get(
        one.word, f"{one.word} in each of {seeds} seeds" if seeds > 1 else f"{one.word}, one seed"
    )
    shown = ", ".join(f"{win:+.3f}" for win in one.wins)
    on_its_way = ", ".join(f"{win:+.3f}" for win in one.at_equal_kl)
    equal = f"; at equal KL {on_its_way}" if on_its_way and one.word != "the same" else ""
    wins, kls = (
        [_mean(arms[arm], number) for arm in (name, other)]
        for number in ("win_rate_base", "kl_base_nats")
    )
    return (
        f"`{name}` wins {wins[0]:.3f} of the comparisons with the base, `{other}` {wins[1]:.3f} "
        f"(by seed {shown}), KL {kls[0]:.2f} against {kls[1]:.2f} nats: {agreed}{equal}."
    )


def _simple(question: Question, words: Mapping[str, str]) -> str:
    """Whether the arm with fewest parts is beaten."""
    if question.simple == question.against:
        beaten = [name for name, word in words.items() if word == "better"]
    else:
        beaten = [question.against] if words[question.simple] == "worse" else []
    if not beaten:
        return f"The simple choice, `{question.simple}`, is not beaten."
    by = ", ".join(f"`{name}`" for name in beaten)
    return f"The simple choice, `{question.simple}`, is beaten by {by}."


def _mean(found: Mapping[int, Result], name: str) -> float:
    return fmean(value(result, name) for result in found.values())
