"""Several judges together: one score per completion out of several."""

from collections.abc import Mapping
from statistics import pstdev

SourceScores = Mapping[str, float | None]
"""completion_id → score of one source; None for an abstention."""


def combined_scores(
    by_source: Mapping[str, SourceScores], weights: Mapping[str, float]
) -> dict[str, float | None]:
    """completion_id → the weighted mean of its scores, each in units of its source's spread.

    Sources score on scales of their own, so each is divided by the standard deviation of its scores
    in the round. Those that abstained do not count; where all did, there is no score. The scores of
    a source that is alone stay as they are.
    """
    if len(by_source) == 1:
        return dict(next(iter(by_source.values())))
    scales = {source: _spread(scores) for source, scores in by_source.items()}
    ids = dict.fromkeys(c for scores in by_source.values() for c in scores)
    found: dict[str, float | None] = {}
    for completion_id in ids:
        counted = [
            (weights[source], score / scales[source])
            for source, scores in by_source.items()
            if (score := scores.get(completion_id)) is not None
        ]
        total = sum(weight for weight, _ in counted)
        found[completion_id] = sum(w * s for w, s in counted) / total if counted else None
    return found


def _spread(scores: SourceScores) -> float:
    values = [score for score in scores.values() if score is not None]
    return (pstdev(values) if len(values) > 1 else 0.0) or 1.0
