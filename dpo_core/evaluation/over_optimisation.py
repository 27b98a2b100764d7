"""Messages about over-optimisation: the training judge's score rises, other judgements do not.

Gao, Schulman & Hilton 2023, "Scaling laws for reward model overoptimization": the optimised proxy
keeps rising after the true reward has stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from dpo_core.evaluation.intervals import Interval

_FEWEST_LABELS = 20
"""Fewest pairs judged by both people and judges from which agreement in a round is compared."""

_WHAT_TO_DO = (
    "The policy may be learning what the training judge rewards rather than what you want "
    "(over-optimisation): read the answers, then raise training.beta or let people label."
)


@dataclass(frozen=True)
class TrainingScoreGain:
    """The training judge's comparison of the policy's answers with another policy's.

    difference: mean gain in score, in the judge's unit; None for a judge that reads pairs.
    win_rate: share of answers that the judge prefers, ties as one half.
    """

    difference: Interval | None
    win_rate: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the judge prefers the policy's answers beyond chance."""
        return self.win_rate.low > 0.5 and (self.difference is None or self.difference.low > 0)

    def describe(self, whose: str) -> str:
        """The beginning of a sentence; `whose` answers are compared, such as "the base's"."""
        if self.difference is None:
            return f"The training judge prefers the answers to {whose} ({_shares(self.win_rate)})"
        return (
            f"The training judge scores the answers higher than {whose} "
            f"({_signed(self.difference)}, preferring {_percent(self.win_rate.estimate)})"
        )


@dataclass(frozen=True)
class JudgeAgreement:
    """Share of a round's `pairs`, judged by people and judges alike, on which both agree."""

    round: int
    share: float
    pairs: int


def judge_disagreement_message(
    whose: str, risen: TrainingScoreGain, evaluation: Interval | None
) -> str | None:
    """Message where only the training judge prefers the policy's answers; None otherwise.

    It is given when the training judge clearly prefers them to `whose` answers, while the
    evaluation judge's win rate is neither clearly above one half nor as high as the training
    judge's.
    """
    if evaluation is None or not risen.is_clear:
        return None
    if evaluation.low > 0.5 or risen.win_rate.estimate <= evaluation.high:
        return None
    verb = "prefers the others" if evaluation.high < 0.5 else "does not"
    return (
        f"{risen.describe(whose)}, but the evaluation judge {verb}: "
        f"win rate {_shares(evaluation)}. {_WHAT_TO_DO}"
    )


def falling_agreement_message(
    risen: TrainingScoreGain, rounds: Sequence[JudgeAgreement], confidence: float
) -> str | None:
    """Message where people agree with the judges less than they once did; None otherwise.

    It is given when the training judge clearly prefers the policy's answers to the base's, and
    agreement between people and judges has fallen since the first round in which both judged
    enough pairs: the whole interval of the change lies below 0 (normal approximation for two
    independent shares).
    """
    comparable = [agreement for agreement in rounds if agreement.pairs >= _FEWEST_LABELS]
    if len(comparable) < 2 or not risen.is_clear:
        return None
    first, last = comparable[0], comparable[-1]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    error = math.sqrt(sum(a.share * (1 - a.share) / a.pairs for a in (first, last)))
    if last.share - first.share + z * error >= 0:
        return None
    base = "the base's"
    return (
        f"{risen.describe(base)}, but people agree with it less: on "
        f"{_percent(last.share)} of {last.pairs} pairs in round {last.round}, down from "
        f"{_percent(first.share)} of {first.pairs} in round {first.round}. {_WHAT_TO_DO}"
    )


def _signed(change: Interval) -> str:
    return f"{change.estimate:+.3g} [{change.low:+.3g}, {change.high:+.3g}]"


def _shares(rate: Interval) -> str:
    return f"{_percent(rate.estimate)} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _percent(share: float) -> str:
    return f"{share:.1%}"
