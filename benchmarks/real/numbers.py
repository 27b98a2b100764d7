"""Numbers of results with their intervals, of one seed or of several together.

What has one group, such as prompts about one request, is resampled together, also over seeds.
"""

from collections.abc import Sequence
from functools import cache

from benchmarks.real.results import BASE, Answered, Result
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import change_by_prompt, mean_by_prompt, share_by_prompt
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.ratios import ratio

_CONFIG = EvaluationConfig()

Values = list[tuple[str, float]]
"""(group, value), of each prompt for which it is known."""

Pairs = Sequence[tuple[Answered, int, int]]
"""Answered prompts, and the rounds of the two policies that are compared on them."""


def known(answered: Answered, number: int, name: str) -> list[float | None]:
    """Of each prompt `followed`, `relevant` or `cut` of a policy, 0 or 1."""
    answers = answered.policies[number]
    if name == "cut":
        return [float(not finished) for finished in answers.finished]
    marks = answers.followed if name == "followed" else answers.relevant
    return [None if mark is None else float(mark) for mark in marks]


def share(answered: Answered, number: int, name: str) -> Interval | None:
    """Of one policy's answers."""
    both = zip(answered.groups, known(answered, number, name), strict=False)
    return share_by_prompt([(g, value) for g, value in both if value is not None], _CONFIG)


def change(pairs: Pairs, name: str) -> Interval | None:
    """Of a share, prompt by prompt, where both are known."""
    return _change_of(tuple(one for pair in pairs for one in _changes(*pair, name)))


@cache
def _change_of(changes: tuple[tuple[str, float], ...]) -> Interval | None:
    """Several demands look at one change."""
    return change_by_prompt(changes, _CONFIG)


def _changes(answered: Answered, number: int, other: int, name: str) -> Values:
    sides = known(answered, number, name), known(answered, other, name)
    return [
        (group, ours - theirs)
        for group, ours, theirs in zip(answered.groups, *sides, strict=False)
        if ours is not None and theirs is not None
    ]


def finished_length(answered: Answered, number: int) -> Interval | None:
    """Mean tokens of a policy's finished answers."""
    answers = answered.policies[number]
    rows = zip(answered.groups, answers.tokens, answers.finished, strict=True)
    return mean_by_prompt([(g, float(tokens)) for g, tokens, done in rows if done], _CONFIG)


def length_ratio(result: Result) -> float | None:
    """Mean tokens of finished answers, as a share of the base's."""
    ours, theirs = (finished_length(result.trained, n) for n in (result.final, BASE))
    return ours.estimate / theirs.estimate if ours and theirs else None


def nats_change(results: Sequence[Result], name: str) -> Interval | None:
    """Of −log π per token of texts that nobody here wrote: the final policy's less the base's."""
    rows = [
        (f"{number}", ours - theirs, tokens)
        for result in results
        if name in result.texts and result.final
        for number, (ours, theirs, tokens) in enumerate(_nats(result, name))
    ]
    if not rows:
        return None
    groups, changes, tokens = zip(*rows, strict=True)
    return ratio(changes, tokens, groups=groups).interval


def nats(result: Result, name: str, number: int) -> float:
    """Per token."""
    texts = result.texts[name]
    return sum(texts.nats[number]) / sum(texts.tokens)


def _nats(result: Result, name: str) -> list[tuple[float, float, float]]:
    texts = result.texts[name]
    columns = texts.nats[result.final], texts.nats[BASE], [float(n) for n in texts.tokens]
    return list(zip(*columns, strict=True))


def trained(results: Sequence[Result]) -> Pairs:
    """The policies at the end beside the base, on the campaign's test prompts."""
    return [(result.trained, result.final, BASE) for result in results]


def after(results: Sequence[Result], name: str) -> Pairs:
    """The same on what was asked afterwards, of the results that have it."""
    return [(r.after[name], r.final, BASE) for r in results if name in r.after and r.final]


def predecessor(result: Result, number: int) -> int:
    """The policy from which a round started: that of the round promoted last before it."""
    earlier = (row["round"] for row in result.rounds if row["promoted"] and row["round"] < number)
    return max(earlier, default=BASE)


def minutes(result: Result) -> float:
    """Of everything but IFEval, by the clock."""
    return sum(took.wall_s for name, took in result.took.items() if name != "ifeval") / 60
