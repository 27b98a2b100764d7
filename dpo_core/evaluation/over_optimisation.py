"""Over-optimisation in words: the judge that trains is ever more pleased, others are not.

Gao, Schulman & Hilton 2023, "Scaling laws for reward model overoptimization": what is optimised
goes on rising after what is meant by it has stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from dpo_core.evaluation.intervals import Interval

_FEWEST_LABELS = 20
"""Pairs that people and judges must share in a round before their agreement says anything."""

_WHAT_TO_DO = (
    "The policy may be learning what the training judge rewards rather than what is wanted "
    "(over-optimisation): read the answers, then raise training.beta or let people label."
)


@dataclass(frozen=True)
class TrainingScoreGain:
    """How the training judge likes the policy's answers against those of another policy.

    difference: mean score gained, in the judge's unit; None of a judge that reads pairs. win_rate:
    share of answers it prefers, ties as one half.
    """

    difference: Interval | None
    win_rate: Interval

    @property
    def clearly(self) -> bool:
        return self.win_rate.low > 0.5 and (self.difference is None or self.difference.low > 0)

    def told(self, whose: str) -> str:
        """The beginning of a sentence; `whose` answers it likes less."""
        if self.difference is None:
            return f"The training judge prefers the answers to {whose} ({_shares(self.win_rate)})"
        return (
            f"The training judge scores the answers higher than {whose} "
            f"({_signed(self.difference)}, preferring {_percent(self.win_rate.estimate)})"
        )


@dataclass(frozen=True)
class JudgeAgreement:
    """In how many of the `pairs` that both judged in a round people and judges said the same."""

    round: int
    share: float
    pairs: int


def judge_disagreement_message(
    whose: str, risen: TrainingScoreGain, evaluation: Interval | None
) -> str | None:
    """A sentence where the training judge clearly prefers the policy's answers to those of another
    (`whose` answers), and the evaluation judge does not follow: its win rate is not clearly above
    one half, and clearly below that of the training judge."""
    if evaluation is None or not risen.clearly:
        return None
    if evaluation.low > 0.5 or risen.win_rate.estimate <= evaluation.high:
        return None
    verb = "prefers the latter" if evaluation.high < 0.5 else "does not"
    return (
        f"{risen.told(whose)}, but the evaluation judge {verb}: win rate {_shares(evaluation)}. "
        f"{_WHAT_TO_DO}"
    )


def falling_agreement_message(
    risen: TrainingScoreGain, rounds: Sequence[JudgeAgreement], confidence: float
) -> str | None:
    """A sentence where the training judge clearly prefers the policy's answers to the base's, and
    people say the same as the judges clearly less often than in the first round in which both were
    asked: the whole interval of the change lies below 0 (normal, of two independent shares)."""
    told = [found for found in rounds if found.pairs >= _FEWEST_LABELS]
    if len(told) < 2 or not risen.clearly:
        return None
    first, last = told[0], told[-1]
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    error = math.sqrt(sum(one.share * (1 - one.share) / one.pairs for one in (first, last)))
    if last.share - first.share + z * error >= 0:
        return None
    base = "the base's"
    return (
        f"{risen.told(base)}, but people agree with it less: on "
        f"{_percent(last.share)} of {last.pairs} pairs in round {last.round}, on "
        f"{_percent(first.share)} of {first.pairs} in round {first.round}. {_WHAT_TO_DO}"
    )


def _signed(found: Interval) -> str:
    return f"{found.estimate:+.3g} [{found.low:+.3g}, {found.high:+.3g}]"


def _shares(found: Interval) -> str:
    return f"{_percent(found.estimate)} [{_percent(found.low)}, {_percent(found.high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
