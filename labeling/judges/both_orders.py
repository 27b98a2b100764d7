"""Judge each pair in both orders, so that position cannot decide."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dpo_core.records import OTHER_SIDE, VERDICTS, Judgement, Pair, Verdict
from dpo_core.tables import batched
from labeling.judges.answers import answer_each_item, as_number, format_value, replace_surrogates
from labeling.judges.protocol import BATCH, PairwiseJudge

_UNSWAPPED: dict[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}


def judge_both_orders(judge: PairwiseJudge, pairs: Sequence[Pair]) -> Iterator[Judgement]:
    """One judgement per pair, from both orders; a verdict that follows the position is a tie."""
    for batch in batched(pairs, BATCH):
        forward = _read(judge, batch)
        backward = _read(judge, [pair.swapped() for pair in batch])
        for first, second in zip(forward, backward, strict=True):
            yield combine_orders(first, second)


def _read(judge: PairwiseJudge, pairs: Sequence[Pair]) -> list[Judgement]:
    """One judgement per pair; an unreadable answer is an abstention."""
    given = answer_each_item(judge.judge(pairs), pairs, Judgement, lambda why: Judgement(None, why))
    return [_readable(judgement) for judgement in given]


def _readable(given: Judgement) -> Judgement:
    if given.verdict is not None and given.verdict not in VERDICTS:
        return replace(
            given, verdict=None, reason=f"unreadable verdict {format_value(given.verdict)}"
        )
    confidence = as_number(given.confidence)
    if confidence is None or not 0 <= confidence <= 1:
        confidence = None
    raw = given.raw if given.raw is None else replace_surrogates(str(given.raw))
    return replace(given, confidence=confidence, raw=raw)


def combine_orders(forward: Judgement, backward: Judgement) -> Judgement:
    """Combine the readings of a pair with a first and with b first into one judgement.

    An abstention in either order makes the pair an abstention. Readings that agree have the mean
    of their confidences, readings that disagree are a tie without confidence. Costs are added.

    Args:
        forward: read with a first.
        backward: read with b first, with verdicts in terms of that order.
    """
    first = forward.verdict
    second = None if backward.verdict is None else _UNSWAPPED[backward.verdict]
    judgement = _decide(forward, backward, first == second)
    return replace(judgement, forward=first, backward=second, cost=forward.cost + backward.cost)


def _decide(forward: Judgement, backward: Judgement, agree: bool) -> Judgement:
    if forward.verdict is None:
        return forward
    if backward.verdict is None:
        side = backward.caused_by
        return replace(backward, caused_by=None if side is None else OTHER_SIDE[side])
    if not agree:
        reason = "the verdict follows the position of the answers"
        return Judgement("tie", reason, raw=_raws(forward, backward))
    confidences = (forward.confidence, backward.confidence)
    known = [confidence for confidence in confidences if confidence is not None]
    mean = sum(known) / len(known) if len(known) == len(confidences) else None
    return replace(forward, confidence=mean, raw=_raws(forward, backward))


def _raws(forward: Judgement, backward: Judgement) -> str | None:
    """Both raw replies, the forward one first."""
    raws = [raw for raw in (forward.raw, backward.raw) if raw is not None]
    return "\n".join(raws) if raws else None
