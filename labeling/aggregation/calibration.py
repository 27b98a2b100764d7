"""Calibrate a judge: how often it is right at a given certainty, learnt from people's answers.

A judge is right on a pair when its verdict is the majority of people's. Its `signal` is its
certainty: the logit of its confidence, or the margin of its scores. labeling.aggregation.curves
fits signal to accuracy; without a signal the accuracy is (k + ½)/(n + 1) for k of n right.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dpo_core.hashing import derive_seed
from dpo_core.records import LabelRow, Verdict
from labeling.aggregation.curves import CalibrationCurve, Method, fit_curve
from labeling.aggregation.votes import gather_votes, majority_verdict
from labeling.pairs.for_people import RANDOM

LEAST = 10
"""Fewest shared pairs for a fit; a judge with fewer is trusted as before."""

_FOLDS = 5
_BINS = 10
_SUREST = 1e-6

Signal = Literal["confidence", "margin"]


@dataclass(frozen=True)
class CalibrationVerdict:
    """A judge's verdict on a pair, with its own `confidence` or the `margin` of its scores."""

    pair_id: str
    source: str
    verdict: Verdict | None
    confidence: float | None = None
    margin: float | None = None

    def signal(self, kind: Signal | None) -> float | None:
        """The signal of this kind: the margin, or the logit of the confidence."""
        if kind == "margin":
            return self.margin
        if kind is None or self.confidence is None:
            return None
        p = min(max(self.confidence, _SUREST), 1 - _SUREST)
        return math.log(p / (1 - p))


@dataclass(frozen=True)
class SharedJudgement:
    """A judgement on a pair that people answered too; `random`: the pair was selected at random."""

    judged: CalibrationVerdict
    right: bool
    random: bool


@dataclass(frozen=True)
class JudgeReliability:
    """A judge's reliability, fitted to `n` shared pairs of which it got `right` right.

    sample: `random` if only randomly selected pairs were used, `all` if these were too few. Pairs
    selected because they are hard understate the judge, so people are then asked too often rather
    than too rarely. constant: (right + ½)/(n + 1), for judgements without signal. error_before,
    error_after: expected calibration error of the judge's own confidence (None without one) and of
    the fit on held-out folds.
    """

    source: str
    method: Method
    signal: Signal | None
    sample: Literal["random", "all"]
    n: int
    right: int
    constant: float
    curve: CalibrationCurve | None = field(default=None, kw_only=True)  # not in a step's facts
    error_before: float | None
    error_after: float

    def probability(self, judged: CalibrationVerdict) -> float:
        """Probability that people agree with the verdict."""
        signal = judged.signal(self.signal)
        if self.curve is None or signal is None:
            return self.constant
        return self.curve.at(signal)


@dataclass(frozen=True)
class Reliability:
    """Whether a judgement is reliable; `probability` is None for a judge without fit."""

    pair_id: str
    source: str
    probability: float | None
    reliable: bool


def join_with_people(
    judged: Iterable[CalibrationVerdict],
    labels: Sequence[LabelRow],
    retracted: Collection[str] = (),
) -> list[SharedJudgement]:
    """The round's judgements on pairs that people answered.

    Args:
        labels: the round's rows of LABELS.
        retracted: sources that are left out.
    """
    people = {
        pair_id: majority_verdict(ballot.votes)
        for pair_id, ballot in gather_votes([], labels, retracted=retracted).items()
    }
    random = {row["pair_id"] for row in labels if row["why"] == RANDOM}
    return [
        SharedJudgement(j, j.verdict == people[j.pair_id], j.pair_id in random)
        for j in judged
        if j.verdict is not None and j.source not in retracted and people.get(j.pair_id) is not None
    ]


def fit_reliability(shared: Iterable[SharedJudgement]) -> dict[str, JudgeReliability]:
    """source → its fit, for judges with at least LEAST shared pairs."""
    by_source: dict[str, list[SharedJudgement]] = defaultdict(list)
    for judgement in shared:
        by_source[judgement.judged.source].append(judgement)
    return {
        source: _fit(source, judgements)
        for source, judgements in sorted(by_source.items())
        if len(judgements) >= LEAST
    }


def assess_reliability(
    fitted: Mapping[str, JudgeReliability], judged: Iterable[CalibrationVerdict], reliable_at: float
) -> list[Reliability]:
    """The reliability of every judgement: reliable if right with probability ≥ `reliable_at`.

    A judge without a fit is trusted; an abstention is never reliable.
    """
    return [_assess(fitted.get(j.source), j, reliable_at) for j in judged]


def unreliable_pairs(assessed: Iterable[Reliability]) -> set[str]:
    """Ids of pairs on which no judge is reliable; people are asked about these first."""
    by_pair: dict[str, bool] = defaultdict(bool)
    for reliability in assessed:
        by_pair[reliability.pair_id] |= reliability.reliable
    return {pair_id for pair_id, reliable in by_pair.items() if not reliable}


def calibration_error(predicted: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): Σ_bins share·|accuracy − probability|.

    Args:
        predicted: (probability of being right, whether it was right) of each pair; not empty.

    Returns:
        The error from 0 to 1, over ten bins of equal width.

    Example:
        >>> calibration_error([(0.75, True), (0.75, False)])
        0.25
    """
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for probability, right in predicted:
        bins[min(int(probability * _BINS), _BINS - 1)].append((probability, right))
    gaps = (abs(sum(r for _, r in b) - sum(p for p, _ in b)) for b in bins.values())
    return sum(gaps) / len(predicted)


def _assess(
    fitted: JudgeReliability | None, judged: CalibrationVerdict, reliable_at: float
) -> Reliability:
    if judged.verdict is None or fitted is None:
        return Reliability(judged.pair_id, judged.source, None, judged.verdict is not None)
    probability = fitted.probability(judged)
    return Reliability(judged.pair_id, judged.source, probability, probability >= reliable_at)


def _fit(source: str, shared: Sequence[SharedJudgement]) -> JudgeReliability:
    random = [s for s in shared if s.random]
    used = random if len(random) >= LEAST else shared
    signal = _signal(used)
    method, curve = _curve(used, signal)
    right = sum(s.right for s in used)
    own = [(p, s.right) for s in used if (p := s.judged.confidence) is not None]
    return JudgeReliability(
        source=source,
        method=method,
        signal=signal if curve is not None else None,
        sample="random" if used is random else "all",
        n=len(used),
        right=right,
        constant=_constant(used),
        curve=curve,
        error_before=calibration_error(own) if own else None,
        error_after=calibration_error(_held_out(used, signal)),
    )


def _signal(shared: Sequence[SharedJudgement]) -> Signal | None:
    """The first kind of signal that any judgement has; ties have no confidence."""
    kinds: tuple[Signal, ...] = ("confidence", "margin")
    return next((k for k in kinds if any(s.judged.signal(k) is not None for s in shared)), None)


def _constant(shared: Sequence[SharedJudgement]) -> float:
    return (sum(s.right for s in shared) + 0.5) / (len(shared) + 1)


def _curve(
    shared: Sequence[SharedJudgement], signal: Signal | None
) -> tuple[Method, CalibrationCurve | None]:
    return fit_curve([(x, s.right) for s in shared if (x := s.judged.signal(signal)) is not None])


def _held_out(shared: Sequence[SharedJudgement], signal: Signal | None) -> list[tuple[float, bool]]:
    """(probability, right) of each pair, by cross-validation; folds are drawn by hash."""
    folds: dict[int, list[SharedJudgement]] = defaultdict(list)
    ordered = sorted(shared, key=lambda s: derive_seed("fold", s.judged.pair_id))
    for place, judgement in enumerate(ordered):
        folds[place % _FOLDS].append(judgement)
    predicted = []
    for number, fold in folds.items():
        rest = [s for other, members in folds.items() if other != number for s in members]
        curve, constant = _curve(rest, signal)[1], _constant(rest)
        for judgement in fold:
            x = judgement.judged.signal(signal)
            p = constant if curve is None or x is None else curve.at(x)
            predicted.append((p, judgement.right))
    return predicted
