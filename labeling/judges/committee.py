"""Several judges together: one score per completion from several."""

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

SourceScores = Mapping[str, float | None]
"""completion_id → score of one source; None for an abstention."""


class Committee:
    """Weighted mean of several sources' scores of a round's completions.

    Each score is divided by the standard deviation of its source's scores in the round, since
    sources use different scales. Where a source abstained on some answers to a prompt, the mean of
    its other scores for that prompt stands in, so that abstaining is no bonus or penalty. Adding a
    constant to one source's scores therefore changes no difference between answers to a prompt.
    """

    def __init__(self, by_source: Mapping[str, SourceScores], weights: Mapping[str, float]) -> None:
        self._by_source = by_source
        alone = len(by_source) == 1  # its scores stay as they are
        self._units = {
            source: 1.0 if alone else _spread(scores) for source, scores in by_source.items()
        }
        self._weights = weights

    def scores(self, completion_ids: Sequence[str]) -> dict[str, float | None]:
        """completion_id → score of the answers to one prompt; None where all sources abstained.

        Empty when no judge scores.
        """
        if not self._by_source:
            return {}
        sums = dict.fromkeys(completion_ids, 0.0)
        scored, total = set[str](), 0.0
        for source, unit in self._units.items():
            own = self._known_scores(source, completion_ids)
            if not own:
                continue
            mean = fmean(own.values())
            weight = 1.0 if len(self._units) == 1 else self._weights[source]
            total += weight
            scored |= own.keys()
            for completion_id in sums:
                sums[completion_id] += weight * (own.get(completion_id, mean) / unit)
        return {i: value / total if i in scored else None for i, value in sums.items()}

    def _known_scores(self, source: str, completion_ids: Sequence[str]) -> dict[str, float]:
        given = self._by_source[source]
        return {i: score for i in completion_ids if (score := given.get(i)) is not None}


def _spread(scores: SourceScores) -> float:
    values = [score for score in scores.values() if score is not None]
    return (pstdev(values) if len(values) > 1 else 0.0) or 1.0
