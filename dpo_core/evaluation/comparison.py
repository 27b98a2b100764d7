"""Evaluation numbers of one policy against another, from outcomes and answers; no I/O, no torch."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.intervals import Interval, columns
from dpo_core.evaluation.length_control import is_extrapolated, length_controlled_win_rate
from dpo_core.evaluation.statistics import mean_interval, standard_error, win_rate
from dpo_core.records import Completion, Verdict

KL_PER_TOKEN = 0.5
"""Nats for each token of the base's mean length that `gate.kl_budget: auto` allows: every other
token may be one that the base gave a probability of 1/e."""


Row = Mapping[str, Any]

ByPrompt = Sequence[tuple[str, float]]
"""(prompt_id, value), of answers or comparisons."""

_MOST_FITS = 2_000
"""Resamples that a model is fitted to; the ends of an interval hardly move with more."""


def outcome(identical: bool, verdict: Verdict | None) -> float | None:
    """1 when the first answer won, 0 when it lost, 0.5 for a tie; None when it cannot be read."""
    if identical or verdict in ("tie", "both_bad"):
        return 0.5
    return None if verdict is None else float(verdict == "a")


def resampling_options(config: EvaluationConfig) -> dict[str, Any]:
    """How every interval of an evaluation is made, as keywords of the functions that make them."""
    return {"confidence": config.confidence, "resamples": config.bootstrap_resamples}


def mean_by_prompt(values: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """The mean and its interval, for which prompts are resampled; None without values."""
    if not values:
        return None
    groups, numbers = zip(*values, strict=True)
    return mean_interval(numbers, groups=groups, **resampling_options(config))


def win_rate_by_prompt(outcomes: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """The same of outcomes, which are 0, ½ or 1; see win_rate."""
    if not outcomes:
        return None
    groups, numbers = zip(*outcomes, strict=True)
    return win_rate(numbers, groups=groups, **resampling_options(config))


def share_by_prompt(values: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """The same of what answers have a share of, from 0 to 1: none of 500 is no proof that there is
    none, and resampling 500 zeros gives nothing else."""
    return win_rate_by_prompt(values, config)


def change_by_prompt(changes: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """The mean of what shares changed by, from −1 to 1, with the interval of a win rate; where none
    changed, with that of a share of none, either way."""
    if changes and not any(change for _, change in changes):
        none = share_by_prompt(changes, config)
        return none and Interval(0.0, -none.high, none.high)
    found = share_by_prompt([(prompt, (1 + change) / 2) for prompt, change in changes], config)
    if found is None:
        return None
    return Interval(*(2 * end - 1 for end in (found.estimate, found.low, found.high)))


@dataclass(frozen=True)
class Comparison:
    """Win rates under one evaluation config; intervals resample prompts, not answers."""

    config: EvaluationConfig

    def win_rate(self, name: str, rows: Sequence[Row]) -> dict[str, Any]:
        """{name, name_low, name_high} of outcome rows; None for each when there are none."""
        outcomes = [(row["prompt_id"], row["outcome"]) for row in rows]
        return columns(name, win_rate_by_prompt(outcomes, self.config))

    def length_controlled(self, name: str, rows: Sequence[Row]) -> dict[str, Any]:
        """The same of the win rate at equal lengths; None, too, where length cannot be told from
        the policy. {name}_extrapolated: see `is_extrapolated`."""
        if not rows:
            return {**columns(name, None), f"{name}_extrapolated": None}
        found = length_controlled_win_rate(
            [row["outcome"] for row in rows],
            [row["length_difference"] for row in rows],
            groups=[row["prompt_id"] for row in rows],
            confidence=self.config.confidence,
            resamples=min(self.config.bootstrap_resamples, _MOST_FITS),
        )
        extrapolated = is_extrapolated([row["length_difference"] for row in rows])
        return {**columns(name, found), f"{name}_extrapolated": extrapolated}


def summarise_kl(
    name: str, logratios: Sequence[float], groups: Sequence[str], config: EvaluationConfig
) -> dict[str, Any]:
    """Monte Carlo KL from log(π/opponent) of π's own samples, nats per completion.

    The mean over samples is unbiased, and its standard error is that of the prompts' means.
    """
    found = mean_interval(logratios, groups=groups, **resampling_options(config))
    return {**columns(name, found), f"{name}_se": _finite(standard_error(logratios, groups))}


def describe_answers(
    completions: Sequence[Completion], scores: Sequence[Row], config: EvaluationConfig
) -> dict[str, Any]:
    """Length, truncation, score and measures of a policy's test answers, with intervals."""
    test = [c for c in completions if c.prompt.split == "test"]
    by_id = {row["completion_id"]: row for row in scores}
    scored = [c for c in test if (r := by_id.get(c.completion_id)) and r["score"] is not None]
    cut = [(c.prompt.prompt_id, float(c.finish_reason == "length")) for c in test]
    return {
        **_mean("length_mean", test, [float(c.tokens) for c in test], config),
        **columns("truncated_share", share_by_prompt(cut, config)),
        **_mean("score_mean", scored, [by_id[c.completion_id]["score"] for c in scored], config),
        **_measures([by_id[c.completion_id] for c in test if c.completion_id in by_id]),
    }


def _mean(
    name: str, completions: Sequence[Completion], values: Sequence[float], config: EvaluationConfig
) -> dict[str, Any]:
    prompts = (c.prompt.prompt_id for c in completions)
    return columns(name, mean_by_prompt(list(zip(prompts, values, strict=True)), config))


def _measures(scores: Sequence[Row]) -> dict[str, float | None]:
    """measure_<name>: the judge's shares, numerators and denominators summed over answers."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in scores:
        for measure in row["measures"] or ():
            sums[measure["name"]][0] += measure["numerator"]
            sums[measure["name"]][1] += measure["denominator"]
    return {f"measure_{n}": (top / of if of else None) for n, (top, of) in sorted(sums.items())}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def kl_budget_nats(budget: float | str | None, base_length: float | None) -> float | None:
    """`gate.kl_budget` in nats per completion; base_length: the base's mean length in tokens."""
    if budget == "auto":
        return None if base_length is None else KL_PER_TOKEN * base_length
    return None if budget is None else float(budget)
