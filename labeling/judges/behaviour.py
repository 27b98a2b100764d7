"""How a judge behaved in one round: pure functions of pairs and judgements.

Position bias and length bias are measured here before verdicts become preferences. A rate over
nothing is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from dpo_core.records import Completion, Cost, Judgement, Pair, Score, Verdict

LENGTH_BINS = 4
"""Number of equal-sized groups of pairs, by difference in length."""

_WORTH: Mapping[Verdict, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
Judged = Sequence[tuple[Pair, Judgement]]
Scored = Sequence[tuple[Completion, Score]]


@dataclass(frozen=True)
class LengthBin:
    """Pairs whose lengths differ by `tokens_from` to `tokens_to` tokens.

    longer_win_rate: share of them that the longer answer wins; a tie counts one half.
    """

    tokens_from: int
    tokens_to: int
    pairs: int
    longer_win_rate: float


@dataclass(frozen=True)
class Behaviour:
    """How one judge behaved on the pairs of a round.

    pairs: number of pairs judged: `decided` with a better answer, `ties` (including both bad) and
      `abstained` without verdict.
    abstention_rate: abstained / pairs.
    both_orders: pairs of different answers with a readable verdict in both orders; the base of the
      next three.
    position_bias: share in which both orders name the same position, whatever the answers.
    first_position_rate: of the readings that name an answer, the share that names the one read
      first; 0.5 means no position preference.
    self_consistency: share in which both orders give the same verdict. For a judge that scores
      completions one by one: share of repeated answers (same text, same prompt) that got the score
      of their first reading.
    longer_win_rate: share of the `length_pairs` pairs of different length that the longer answer
      wins; a tie counts one half.
    win_rate_per_100_tokens: increase of an answer's win rate per 100 tokens of extra length: slope
      of the least-squares line through 0.5 at equal length.
    length_bins: win rate of the longer answer by difference in length.
    mean_confidence: mean over the verdicts that have one.
    tokens_in, tokens_out, money: cost, including that of replies remembered from earlier runs.
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
    """Measure one judge on one round.

    Args:
        judged: (pair, judgement) of every pair.
        scored: (completion, score) of every completion, for a judge that scores one by one.
    """
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
    """Share of repeated answers to the same prompt that got the score of their first reading."""
    first: dict[tuple[str, str], float | None] = {}
    equal: list[bool] = []
    for completion, score in scored:
        key = (completion.prompt.prompt_id, completion.text)
        if key in first:
            equal.append(first[key] == score.value)
        else:
            first[key] = score.value
    return _mean(equal)


def _cost(judged: Judged, scored: Scored) -> Cost:
    """Total cost; for a judge that scores, of every completion once, paired or not."""
    costs = [score.cost for _, score in scored] if scored else [j.cost for _, j in judged]
    return sum(costs, Cost())


def _first_position_rate(orders: Sequence[tuple[Verdict, Verdict]]) -> float | None:
    """Share of readings that name the answer read first: a forward, b backward."""
    named_first = [forward == "a" for forward, _ in orders if forward in ("a", "b")]
    named_first += [backward == "b" for _, backward in orders if backward in ("a", "b")]
    return _mean(named_first)


def _length_outcomes(judged: Judged) -> list[tuple[int, float]]:
    """Sorted (difference in tokens, win of the longer answer) of pairs of different length."""
    outcomes = []
    for pair, judgement in judged:
        difference = pair.a.tokens - pair.b.tokens
        if difference and judgement.verdict is not None:
            won = _WORTH[judgement.verdict]
            outcomes.append((abs(difference), won if difference > 0 else 1 - won))
    return sorted(outcomes)


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
