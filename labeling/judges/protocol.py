"""The two protocols of judges.

A `PointwiseJudge` scores completions one by one; a `PairwiseJudge` reads pairs. A rule is one or
the other by what its function gives, and a model judge implements one of them. People are asked
elsewhere (labeling.people), since they take days.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from dpo_core.records import Completion, Judgement, Pair, Score, Side, Verdict
from dpo_core.tables import batched
from labeling.judges.answers import answer_each_item

BATCH = 1024
"""Most completions or pairs in one call of a judge."""


class PointwiseJudge(Protocol):
    """Scores completions one by one; `source` names it in judgements."""

    source: str

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Score a batch.

        Args:
            completions: at most BATCH, in any order and of any prompts.

        Returns:
            One score per completion, in order; higher is better, on any scale. A score with value
            None is an abstention, with its reason.
        """


class PairwiseJudge(Protocol):
    """Reads pairs; `source` names it in judgements."""

    source: str

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Judge a batch; judge_both_orders calls it again with the answers swapped.

        Args:
            pairs: at most BATCH; each pair's `a` is read as the first answer.

        Returns:
            One judgement per pair, in order. A judgement with verdict None is an abstention, with
            its reason.
        """


def score_all(
    judge: PointwiseJudge, completions: Iterable[Completion]
) -> Iterator[tuple[Completion, Score]]:
    """Every completion with its score; an unreadable answer of the judge is an abstention."""
    for batch in batched(completions, BATCH):
        scores = answer_each_item(judge.score(batch), batch, Score, lambda why: Score(None, why))
        yield from zip(batch, scores, strict=True)


def verdict_from_scores(a: Score, b: Score, *, rewards: bool = False) -> Judgement:
    """The pairwise judgement of two pointwise scores, with the cost of both.

    Args:
        rewards: whether scores are rewards of a Bradley-Terry model; the confidence is then
            σ(|score a − score b|).

    Example:
        >>> verdict_from_scores(Score(2.0), Score(1.0)).verdict
        'a'
    """
    raws = [score.raw for score in (a, b) if score.raw is not None]
    judgement = _compare(a, b, rewards)
    return replace(judgement, raw="\n".join(raws) if raws else None, cost=a.cost + b.cost)


def _compare(a: Score, b: Score, rewards: bool) -> Judgement:
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
    """The side whose answer alone prevented a verdict; None for neither, both or unknown.

    Uses the judgement's own `caused_by`, else blames an empty answer beside one that is not.
    """
    if judgement.verdict is not None or judgement.caused_by is not None:
        return judgement.caused_by
    if pair.a.is_empty == pair.b.is_empty:
        return None
    return "a" if pair.a.is_empty else "b"
