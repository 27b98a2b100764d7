"""A pairwise judge reads each pair in both orders, so that a position cannot decide."""

from collections.abc import Iterator, Sequence

from dpo_core.records import Judgement, Pair, Verdict
from labeling.judges.protocol import BATCH, PairwiseJudge

_UNSWAPPED: dict[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}


def judge_both_orders(judge: PairwiseJudge, pairs: Sequence[Pair]) -> Iterator[Judgement]:
    """Each pair judged as it stands and swapped; a verdict that follows the position is a tie."""
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        forward = judge.judge(batch)
        backward = judge.judge([pair.swapped() for pair in batch])
        for first, second in zip(forward, backward, strict=True):
            yield _agreed(first, second)


def _agreed(forward: Judgement, backward: Judgement) -> Judgement:
    for judgement in (forward, backward):
        if judgement.verdict is None:
            return judgement
    if forward.verdict == _UNSWAPPED[backward.verdict or "tie"]:
        return forward
    return Judgement("tie", "the verdict follows the position of the answers", raw=forward.raw)
