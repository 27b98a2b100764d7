"""How often a judge is right where it is so sure, learnt from people's answers on shared pairs.

A judge is right on a pair where it says what people together say. Its `signal` is how sure it is:
the logit of its confidence, or the margin of its scores. The fits are those of
labeling.aggregation.curves, by what there is to learn from; `constant` is (k + ½)/(n + 1) for k of
n right.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dpo_core.hashing import derive_seed
from dpo_core.records import Verdict
from labeling.aggregation.curves import CalibrationCurve, Method, fit_curve
from labeling.aggregation.votes import gather_votes, majority_verdict
from labeling.pairs.for_people import RANDOM

LEAST = 10
"""Shared pairs below which nothing is said about a judge, and it is trusted as before."""

_FOLDS = 5
_BINS = 10
_SUREST = 1e-6

Signal = Literal["confidence", "margin"]


@dataclass(frozen=True)
class CalibrationVerdict:
    """A judge's verdict on a pair, and how sure it is.

    confidence: in its own opinion. margin: how far apart the scores are that it gave.
    """

    pair_id: str
    source: str
    verdict: Verdict | None
    confidence: float | None = None
    margin: float | None = None

    def signal(self, kind: Signal | None) -> float | None:
        """What the fit sees of the judgement: its margin, or the logit of its confidence."""
        if kind == "margin":
            return self.margin
        if kind is None or self.confidence is None:
            return None
        p = min(max(self.confidence, _SUREST), 1 - _SUREST)
        return math.log(p / (1 - p))


@dataclass(frozen=True)
class SharedJudgement:
    """A judgement on a pair that people answered too; `random`: that was asked by chance alone."""

    judged: CalibrationVerdict
    right: bool
    random: bool


@dataclass(frozen=True)
class JudgeReliability:
    """What is known of a judge's reliability, from `n` shared pairs of which it got `right` right.

    sample: `random` where only pairs count that were asked by chance, `all` where these were too
    few; pairs asked because they are hard make a judge look worse than it is, so that people are
    asked rather too often. constant: (right + ½)/(n + 1), also for judgements without a signal.
    error_before, error_after: expected calibration error of the judge's own confidence and of the
    fit, the latter on pairs that it was not fitted to; before is None without a confidence.
    """

    source: str
    method: Method
    signal: Signal | None
    sample: Literal["random", "all"]
    n: int
    right: int
    constant: float
    curve: CalibrationCurve | None
    error_before: float | None
    error_after: float

    def probability(self, judged: CalibrationVerdict) -> float:
        """Probability that people would say the same."""
        signal = judged.signal(self.signal)
        if self.curve is None or signal is None:
            return self.constant
        return self.curve.at(signal)


@dataclass(frozen=True)
class Reliability:
    """Whether a judgement may be left alone; `probability` is None where nothing is known."""

    pair_id: str
    source: str
    probability: float | None
    reliable: bool


def join_with_people(
    judged: Iterable[CalibrationVerdict],
    labels: Sequence[Mapping[str, Any]],
    retracted: Collection[str] = (),
) -> list[SharedJudgement]:
    """The judgements of a round on pairs that people answered; labels: its rows of LABELS."""
    people = {
        pair_id: majority_verdict(ballot.votes)
        for pair_id, ballot in gather_votes([], labels, retracted=retracted).items()
    }
    random = {row["pair_id"] for row in labels if row["why"] == RANDOM}
    return [
        SharedJudgement(one, one.verdict == people[one.pair_id], one.pair_id in random)
        for one in judged
        if one.verdict is not None
        and one.source not in retracted
        and people.get(one.pair_id) is not None
    ]


def fit_reliability(shared: Iterable[SharedJudgement]) -> dict[str, JudgeReliability]:
    """source → its fit, for judges with enough shared pairs."""
    by_source: dict[str, list[SharedJudgement]] = defaultdict(list)
    for one in shared:
        by_source[one.judged.source].append(one)
    return {
        source: _fit(source, found)
        for source, found in sorted(by_source.items())
        if len(found) >= LEAST
    }


def assess_reliability(
    fitted: Mapping[str, JudgeReliability], judged: Iterable[CalibrationVerdict], reliable_at: float
) -> list[Reliability]:
    """Of every judgement whether it is reliable: right with a probability of `reliable_at`.

    A judge without a fit is trusted; an abstention is never reliable.
    """
    return [_reliability(fitted.get(one.source), one, reliable_at) for one in judged]


def unreliable_pairs(found: Iterable[Reliability]) -> set[str]:
    """Pairs on which no judge is reliable: people are asked about these first."""
    by_pair: dict[str, bool] = defaultdict(bool)
    for one in found:
        by_pair[one.pair_id] |= one.reliable
    return {pair_id for pair_id, reliable in by_pair.items() if not reliable}


def calibration_error(predicted: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): Σ_bins share·|right − predicted|.

    Ten bins of equal width; predicted: (probability, whether it was right).
    """
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for probability, right in predicted:
        bins[min(int(probability * _BINS), _BINS - 1)].append((probability, right))
    gaps = (abs(sum(r for _, r in one) - sum(p for p, _ in one)) for one in bins.values())
    return sum(gaps) / len(predicted)


def _reliability(
    fitted: JudgeReliability | None, judged: CalibrationVerdict, reliable_at: float
) -> Reliability:
    if judged.verdict is None or fitted is None:
        return Reliability(judged.pair_id, judged.source, None, judged.verdict is not None)
    probability = fitted.probability(judged)
    return Reliability(judged.pair_id, judged.source, probability, probability >= reliable_at)


def _fit(source: str, found: Sequence[SharedJudgement]) -> JudgeReliability:
    random = [one for one in found if one.random]
    used = random if len(random) >= LEAST else found
    signal = _signal(used)
    method, curve = _curve(used, signal)
    right = sum(one.right for one in used)
    own = [(p, o.right) for o in used if (p := o.judged.confidence) is not None]
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
    """What most judgements tell, of what there is: not all have it (ties have no confidence)."""
    kinds: tuple[Signal, ...] = ("confidence", "margin")
    return next((k for k in kinds if any(o.judged.signal(k) is not None for o in shared)), None)


def _constant(shared: Sequence[SharedJudgement]) -> float:
    return (sum(one.right for one in shared) + 0.5) / (len(shared) + 1)


def _curve(
    shared: Sequence[SharedJudgement], signal: Signal | None
) -> tuple[Method, CalibrationCurve | None]:
    told = [(x, o.right) for o in shared if (x := o.judged.signal(signal)) is not None]
    return fit_curve(told)


def _held_out(shared: Sequence[SharedJudgement], signal: Signal | None) -> list[tuple[float, bool]]:
    """(probability, right) of each pair by a fit that did not see it; chance is a hash."""
    folds: dict[int, list[SharedJudgement]] = defaultdict(list)
    ordered = sorted(shared, key=lambda one: derive_seed("fold", one.judged.pair_id))
    for place, one in enumerate(ordered):
        folds[place % _FOLDS].append(one)
    predicted = []
    for number, fold in folds.items():
        rest = [one for other, kept in folds.items() if other != number for one in kept]
        curve, constant = _curve(rest, signal)[1], _constant(rest)
        for one in fold:
            x = one.judged.signal(signal)
            p = constant if curve is None or x is None else curve.at(x)
            predicted.append((p, one.right))
    return predicted
