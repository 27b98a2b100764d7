"""How a judge behaved in one round: pure functions of the pairs it read and what it said.

A judge that names a position, or the longer answer whatever it says, is measured here before its
verdicts become preferences. A rate of nothing is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from dpo_core.records import Completion, Cost, Judgement, Pair, Score, Verdict

LENGTH_BINS = 4
"""Groups of pairs, of equal size, by how far their lengths differ."""

_WORTH: Mapping[Verdict, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
Judged = Sequence[tuple[Pair, Judgement]]
Scored = Sequence[tuple[Completion, Score]]


@dataclass(frozen=True)
class LengthBin:
    """Pairs whose lengths differ by `tokens_from` to `tokens_to` tokens.

    longer_win_rate: share of them that the longer answer wins, ties as one half.
    """

    tokens_from: int
    tokens_to: int
    pairs: int
    longer_win_rate: float


@dataclass(frozen=True)
class Behaviour:
    """What one judge did with the pairs of a round.

    pairs: how many it was asked about; `decided` of them have a better answer, `ties` none (both
      bad is counted here), `abstained` no verdict.
    abstention_rate: abstained / pairs.
    both_orders: pairs of different answers with a readable verdict in both orders; the next three
      are about these.
    position_bias: share of them in which both orders name the same position, so that the answers
      had no say.
    first_position_rate: of the readings that name an answer, the share that names the one read
      first; one half without a preference.
    self_consistency: share of them in which both orders give the same verdict. Of a judge that
      scores completions one by one it is the share of repeated answers (the same text to the same
      prompt) that got the score of their first reading.
    longer_win_rate: share of the pairs of different length that the longer answer wins, ties as one
      half; `length_pairs` of them.
    win_rate_per_100_tokens: by how much an answer's win rate grows with 100 tokens more than the
      other: the slope of the least-squares line through one half at equal length.
    length_bins: the win rate of the longer answer by how much longer it is.
    mean_confidence: over the verdicts that have one.
    tokens_in, tokens_out, money: what they took, those remembered from earlier runs included.
    """

    pairs: int
    decided: int
    ties: int
    abstained: int
    abstention_rate: float | None
    both_orders: int
    position_bias: float | None
    first_position_rate: float | None
    self_consistency: float | None
    length_pairs: int
    longer_win_rate: float | None
    win_rate_per_100_tokens: float | None
    length_bins: tuple[LengthBin, ...]
    mean_confidence: float | None
    tokens_in: int
    tokens_out: int
    money: float


def measure_behaviour(judged: Judged, scored: Scored = ()) -> Behaviour:
    """What the judge did; `scored` are all completions that it scored one by one, if it did."""
    verdicts = [judgement.verdict for _, judgement in judged]
    abstained, decided = verdicts.count(None), verdicts.count("a") + verdicts.count("b")
    orders = [
        (judgement.forward, judgement.backward)
        for pair, judgement in judged
        if judgement.forward is not None
        and judgement.backward is not None
        and pair.a.text != pair.b.text
    ]
    lengths = _length_outcomes(judged)
    confidences = [j.confidence for _, j in judged if j.confidence is not None]
    return Behaviour(
        pairs=len(judged),
        decided=decided,
        ties=len(judged) - decided - abstained,
        abstained=abstained,
        abstention_rate=_mean([verdict is None for verdict in verdicts]),
        both_orders=len(orders),
        position_bias=_mean([set(order) == {"a", "b"} for order in orders]),
        first_position_rate=_first_position_rate(orders),
        self_consistency=(
            _repeated_alike(scored)
            if scored
            else _mean([first == second for first, second in orders])
        ),
        length_pairs=len(lengths),
        longer_win_rate=_mean([won for _, won in lengths]),
        win_rate_per_100_tokens=_slope(lengths),
        length_bins=_bins(lengths),
        mean_confidence=_mean(confidences),
        **asdict(_cost(judged, scored)),
    )


def _repeated_alike(scored: Scored) -> float | None:
    """Share of the answers that had stood before, for the same prompt, that got the same score."""
    first: dict[tuple[str, str], float | None] = {}
    alike: list[bool] = []
    for completion, score in scored:
        key = (completion.prompt.prompt_id, completion.text)
        if key in first:
            alike.append(first[key] == score.value)
        else:
            first[key] = score.value
    return _mean(alike)


def _cost(judged: Judged, scored: Scored) -> Cost:
    """Of a judge that scores, each completion is counted once, and those of no pair too."""
    costs = [score.cost for _, score in scored] if scored else [j.cost for _, j in judged]
    return sum(costs, Cost())


def _first_position_rate(orders: Sequence[tuple[Verdict, Verdict]]) -> float | None:
    """a stands first in the forward reading, b in the backward one."""
    named_first = [forward == "a" for forward, _ in orders if forward in ("a", "b")]
    named_first += [backward == "b" for _, backward in orders if backward in ("a", "b")]
    return _mean(named_first)


def _length_outcomes(judged: Judged) -> list[tuple[int, float]]:
    """(tokens by which the longer answer is longer, what it won) of pairs of different length."""
    found = []
    for pair, judgement in judged:
        difference = pair.a.tokens - pair.b.tokens
        if difference and judgement.verdict is not None:
            won = _WORTH[judgement.verdict]
            found.append((abs(difference), won if difference > 0 else 1 - won))
    return sorted(found)


def _slope(lengths: Sequence[tuple[int, float]]) -> float | None:
    squares = sum(difference**2 for difference, _ in lengths)
    if not squares:
        return None
    return 100 * sum(difference * (won - 0.5) for difference, won in lengths) / squares


def _bins(lengths: Sequence[tuple[int, float]]) -> tuple[LengthBin, ...]:
    count = min(LENGTH_BINS, len(lengths))
    edges = [len(lengths) * number // count for number in range(count + 1)] if count else []
    groups = [lengths[start:end] for start, end in pairwise(edges)]
    return tuple(
        LengthBin(group[0][0], group[-1][0], len(group), sum(w for _, w in group) / len(group))
        for group in groups
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
