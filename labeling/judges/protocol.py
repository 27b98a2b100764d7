"""What a judge is: who says how good an answer is, or which of two is better.

There are two kinds, and the round knows no third: a `PointwiseJudge` scores completions one by one,
a `PairwiseJudge` reads pairs. Rules are both, by what their function gives; model judges plug in by
implementing one of the protocols. People are asked elsewhere (labeling.people): they take days.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from dpo_core.records import Completion, Judgement, Pair, Score, Side, Verdict
from dpo_core.tables import batched
from labeling.judges.answers import answer_each_item

BATCH = 1024
"""Completions or pairs handed to a judge at a time."""


class PointwiseJudge(Protocol):
    """Scores completions one by one; `source`: the name that its judgements carry."""

    source: str

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """One score per completion, in order."""


class PairwiseJudge(Protocol):
    """Reads pairs; `source`: the name that its judgements carry."""

    source: str

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement per pair, in order; reads the pair's a as the first answer."""


def score_all(
    judge: PointwiseJudge, completions: Iterable[Completion]
) -> Iterator[tuple[Completion, Score]]:
    """Every completion with its score, batch by batch; an abstention where the judge gave none."""
    for batch in batched(completions, BATCH):
        scores = answer_each_item(judge.score(batch), batch, Score, lambda why: Score(None, why))
        yield from zip(batch, scores, strict=True)


def verdict_from_scores(a: Score, b: Score, *, rewards: bool = False) -> Judgement:
    """The pairwise judgement that two pointwise scores amount to; it costs what both did.

    rewards: the scores are those of a Bradley-Terry model, whose confidence is σ(|difference|).
    """
    raws = [score.raw for score in (a, b) if score.raw is not None]
    found = _compared(a, b, rewards)
    return replace(found, raw="\n".join(raws) if raws else None, cost=a.cost + b.cost)


def _compared(a: Score, b: Score, rewards: bool) -> Judgement:
    if a.value is None or b.value is None:
        missing = a if a.value is None else b
        alone: Side | None = "b" if a.value is not None else "a" if b.value is not None else None
        return Judgement(None, f"no score: {missing.reason}", caused_by=alone)
    if a.value == b.value:
        return Judgement("tie", f"both score {a.value:g}")
    confidence = 1 / (1 + math.exp(-abs(a.value - b.value))) if rewards else None
    verdict: Verdict = "a" if a.value > b.value else "b"
    return Judgement(verdict, f"scores {a.value:g} and {b.value:g}", confidence)


def unjudged_side(pair: Pair, judgement: Judgement) -> Side | None:
    """Whose answer alone kept the source from a verdict; None: neither's or both's, or not known.

    What the source says itself; else an empty answer beside one that is not.
    """
    if judgement.verdict is not None or judgement.caused_by is not None:
        return judgement.caused_by
    if pair.a.is_empty == pair.b.is_empty:
        return None
    return "a" if pair.a.is_empty else "b"
