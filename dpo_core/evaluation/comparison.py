"""Metrics of one policy against another, from outcomes and answers. No I/O, no torch."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.intervals import Interval, columns, finite
from dpo_core.evaluation.length_control import is_extrapolated, length_controlled_win_rate
from dpo_core.evaluation.statistics import mean_interval, standard_error, win_rate
from dpo_core.records import Completion, Score, Verdict

KL_PER_TOKEN = 0.5
"""Nats per token of the base's mean length that `gate.kl_budget: auto` allows: every other token
may be one to which the base gave a probability of 1/e."""


class Decided(NamedTuple):
    """A comparison with an outcome. length_difference: of the first answer minus the second."""

    prompt_id: str
    outcome: float
    length_difference: int = 0


class Resampling(TypedDict):
    """Keywords by which the functions of this package compute an evaluation's intervals."""

    confidence: float
    resamples: int


ByPrompt = Sequence[tuple[str, float]]
"""(prompt_id, value) of answers or comparisons."""

_MOST_FITS = 2_000
"""Most resamples that a model is fitted to; more hardly move the ends of an interval."""


def outcome(identical: bool, verdict: Verdict | None) -> float | None:
    """1 when the first answer won, 0 when it lost, 0.5 for a tie; None without a verdict.

    identical: whether both answers are the same text, which is a tie.
    """
    if identical or verdict in ("tie", "both_bad"):
        return 0.5
    return None if verdict is None else float(verdict == "a")


def resampling_options(config: EvaluationConfig) -> Resampling:
    return {"confidence": config.confidence, "resamples": config.bootstrap_resamples}


def mean_by_prompt(values: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """Mean with its interval over prompts; None without values."""
    if not values:
        return None
    groups, numbers = zip(*values, strict=True)
    return mean_interval(numbers, groups=groups, **resampling_options(config))


def win_rate_by_prompt(outcomes: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """Win rate with its interval over prompts; None without outcomes. See `win_rate`."""
    if not outcomes:
        return None
    groups, numbers = zip(*outcomes, strict=True)
    return win_rate(numbers, groups=groups, **resampling_options(config))


def share_by_prompt(values: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """Mean of shares in [0, 1] with the interval of a win rate; None without values.

    That interval has width even for 500 zeros, which resampling would not give.
    """
    return win_rate_by_prompt(values, config)


def change_by_prompt(changes: ByPrompt, config: EvaluationConfig) -> Interval | None:
    """Mean change of shares, in [−1, 1], with the interval of a win rate; None without values.

    Where no share changed, the interval is that of a share of 0, in both directions.
    """
    if changes and not any(change for _, change in changes):
        zero = share_by_prompt(changes, config)
        return zero and Interval(0.0, -zero.high, zero.high)
    scaled = share_by_prompt([(prompt, (1 + change) / 2) for prompt, change in changes], config)
    if scaled is None:
        return None
    return Interval(*(2 * end - 1 for end in (scaled.estimate, scaled.low, scaled.high)))


@dataclass(frozen=True)
class Comparison:
    """Win rates under one evaluation config. Intervals resample prompts, not answers."""

    config: EvaluationConfig

    def win_rate(self, name: str, rows: Sequence[Decided]) -> dict[str, float | None]:
        """Win rate as {name, name_low, name_high}; each None without rows."""
        outcomes = [(row.prompt_id, row.outcome) for row in rows]
        return columns(name, win_rate_by_prompt(outcomes, self.config))

    def length_controlled(self, name: str, rows: Sequence[Decided]) -> dict[str, float | None]:
        """Length-controlled win rate as {name, name_low, name_high, name_extrapolated}.

        Each is None without rows; the first three also where all length differences are equal and
        not 0. See `length_controlled_win_rate` and `is_extrapolated`.
        """
        if not rows:
            return {**columns(name, None), f"{name}_extrapolated": None}
        rate = length_controlled_win_rate(
            [row.outcome for row in rows],
            [row.length_difference for row in rows],
            groups=[row.prompt_id for row in rows],
            confidence=self.config.confidence,
            resamples=min(self.config.bootstrap_resamples, _MOST_FITS),
        )
        extrapolated = is_extrapolated([row.length_difference for row in rows])
        return {**columns(name, rate), f"{name}_extrapolated": extrapolated}


def summarise_kl(
    name: str, logratios: Sequence[float], groups: Sequence[str], config: EvaluationConfig
) -> dict[str, float | None]:
    """Monte Carlo KL(π ‖ opponent) as {name, name_low, name_high, name_se}, nats per completion.

    The mean over samples is unbiased; its standard error is clustered by prompt.

    Args:
        name: of the columns.
        logratios: log(π/opponent) of completions that π sampled, nats.
        groups: the prompt of each completion.
        config: confidence and resamples.
    """
    kl = mean_interval(logratios, groups=groups, **resampling_options(config))
    return {**columns(name, kl), f"{name}_se": finite(standard_error(logratios, groups))}


def describe_answers(
    completions: Sequence[Completion], scores: Mapping[str, Score], config: EvaluationConfig
) -> dict[str, float | None]:
    """Columns for length, truncation, score and measures of a policy's test answers.

    scores: completion_id → score.
    """
    test = [c for c in completions if c.prompt.split == "test"]
    scored = [(c.prompt.prompt_id, s) for c in test if (s := scores.get(c.completion_id))]
    values = [(prompt, score.value) for prompt, score in scored if score.value is not None]
    lengths = [(c.prompt.prompt_id, float(c.tokens)) for c in test]
    cut = [(c.prompt.prompt_id, float(c.finish_reason == "length")) for c in test]
    return {
        **columns("length_mean", mean_by_prompt(lengths, config)),
        **columns("truncated_share", share_by_prompt(cut, config)),
        **columns("score_mean", mean_by_prompt(values, config)),
        **_measures([score for _, score in scored]),
    }


def _measures(scores: Sequence[Score]) -> dict[str, float | None]:
    """measure_<name> → the judge's share: numerators over denominators, summed over answers."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for score in scores:
        for name, (numerator, denominator) in score.measures.items():
            sums[name][0] += numerator
            sums[name][1] += denominator
    return {
        f"measure_{n}": (top / below if below else None) for n, (top, below) in sorted(sums.items())
    }


def kl_budget_nats(budget: float | str | None, base_length: float | None) -> float | None:
    """`gate.kl_budget` in nats per completion; None means no limit.

    base_length: the base's mean length in tokens, which `auto` scales with; without it, no limit.
    """
    if budget == "auto":
        return None if base_length is None else KL_PER_TOKEN * base_length
    return None if budget is None else float(budget)
