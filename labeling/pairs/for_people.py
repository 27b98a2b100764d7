"""Select the pairs that people label: those where a label is worth most, and a random share.

A pair can be doubtful in three ways before anybody labels it:

- the judges disagree, among themselves or one of them with itself in the other order of reading
  (query by committee: Seung, Opper and Sompolinsky 1992);
- the answers are close: a small score margin, or judges of low confidence (uncertainty sampling:
  Lewis and Gale 1994);
- the policy is uncertain: high predictive entropy, which Muldrew et al., Active Preference
  Learning for Large Language Models, 2024 (arXiv:2402.08114), estimate from sampled log-probs.

Their scales are not comparable, so each becomes a rank among the round's pairs, and the mean rank
is the pair's worth. All functions are pure; randomness comes from hashes.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import floor, fsum
from typing import Literal

from dpo_core.hashing import derive_seed
from dpo_core.records import Judgement
from labeling.people.config import BudgetConfig, PeopleConfig

RANDOM = "picked at random"
UNRELIABLE = "the judge is not reliable here"
DISAGREE = "judges disagree"
ORDER = "the verdict depends on the order"
CLOSE = "the scores are close"
UNSURE = "the judge is unsure"
UNCERTAIN = "the policy is uncertain"
ROOM = "no doubt, but room for it"

_LITTLE = 0.5
"""Ranks up to this, those of the less doubtful half, give no reason."""

_ROUNDING = 1e-9
"""Tolerance before floor: 0.29 · 100 must give 29 and is 28.999999999999996 in binary."""


@dataclass(frozen=True)
class PairCandidate:
    """A pair of a round and what is known about it; unknown values are None.

    judgements: one per judge other than people. margin: score difference of the two answers.
    uncertainty: see `policy_uncertainty`.
    """

    pair_id: str
    judgements: tuple[Judgement, ...] = ()
    margin: float | None = None
    uncertainty: float | None = None


@dataclass(frozen=True)
class LabelPlan:
    """How many pairs people label, and how they are selected.

    calibration_share: share of these pairs that is a simple random sample of all candidates.
    unreliable: ids of pairs on which no judge is reliable; they come before all others that are not
    random.
    """

    pairs: int
    seed: int
    choose: Literal["worth", "random"] = "worth"
    calibration_share: float = 0.0
    unreliable: Collection[str] = ()


@dataclass(frozen=True)
class SelectedForPeople:
    """A pair that people label; `why`: the reason, `worth`: from 0 to 1.

    The pairs whose `why` is RANDOM are a simple random sample of the round's pairs, so people and
    judges can be compared on them without bias.
    """

    pair_id: str
    why: str
    worth: float


@dataclass(frozen=True)
class LabelBudget:
    """Numbers of items in a budget of answers; each is answered by `answers_each` people."""

    pairs: int
    gold: int
    repeats: int
    answers_each: int

    @property
    def answers(self) -> int:
        return (self.pairs + self.gold + self.repeats) * self.answers_each


def split_budget(
    people: PeopleConfig, budget: BudgetConfig, *, pairs: int, gold: int
) -> LabelBudget:
    """Split a round's label budget into pairs, gold items and repeats.

    Gold and repeats are their shares of all items, rounded down; they are hidden among the pairs,
    so they too are answered by `min_submitted` people. All answers stay within
    `budget.human_labels`; without it every pair is asked.

    Args:
        pairs: number of pairs available.
        gold: number of gold items available.

    Example:
        >>> people = PeopleConfig(gold_share=0.1, repeat_share=0.1)
        >>> split_budget(people, BudgetConfig(human_labels=50), pairs=100, gold=20)
        LabelBudget(pairs=40, gold=5, repeats=5, answers_each=1)
    """
    asked = _fitting(pairs, people.gold_share + people.repeat_share)
    if budget.human_labels is not None:
        asked = min(asked, budget.human_labels // people.min_submitted)
    gold = min(gold, _share(people.gold_share, asked))
    asked = min(asked, _fitting(pairs + gold, people.repeat_share))  # gold may be short
    repeats = _share(people.repeat_share, asked)
    return LabelBudget(asked - gold - repeats, gold, repeats, people.min_submitted)


def choose_for_people(
    candidates: Sequence[PairCandidate], plan: LabelPlan
) -> list[SelectedForPeople]:
    """The pairs that people label, the most valuable first.

    Random pairs are spread evenly over the list, so that a part answered before a deadline still
    serves calibration. The result does not depend on the order of the candidates.
    """
    worths = _worths(candidates)
    shuffled = sorted(worths, key=lambda pair_id: derive_seed(plan.seed, pair_id))
    wanted = min(plan.pairs, len(shuffled))
    share = 1.0 if plan.choose == "random" else plan.calibration_share
    at_random = shuffled[: floor(share * wanted + 0.5)]

    # Sorting is stable, so the hash breaks ties.
    ranked = sorted((worths[p] for p in shuffled[len(at_random) :]), key=lambda c: -c.worth)
    distrusted = [replace(c, why=UNRELIABLE) for c in ranked if c.pair_id in plan.unreliable]
    by_worth = distrusted + [c for c in ranked if c.pair_id not in plan.unreliable]
    return _interleave(
        [replace(worths[p], why=RANDOM) for p in at_random], by_worth[: wanted - len(at_random)]
    )


def policy_uncertainty(*token_logps: Sequence[float] | None) -> float | None:
    """Mean over completions of −mean log π(token), in nats per token.

    At temperature 1 the log-prob of a sampled token is an unbiased estimate of the negative entropy
    at its position, so this estimates the policy's mean entropy along its answers; at other
    temperatures it still ranks them.

    Args:
        token_logps: log-probs (nats) of each completion's sampled tokens.

    Returns:
        None when a completion has no log-probs.

    Example:
        >>> policy_uncertainty([-1.0, -3.0], [-2.0])
        2.0
    """
    means = [fsum(logps) / len(logps) if logps else None for logps in token_logps]
    known = [mean for mean in means if mean is not None]
    return -fsum(known) / len(known) if known and len(known) == len(means) else None


def disagreement(judgements: Sequence[Judgement]) -> float | None:
    """Share of pairs of judges whose verdicts differ, without abstentions; None for one judge."""
    verdicts = [j.verdict for j in judgements if j.verdict is not None]
    pairs = list(combinations(verdicts, 2))
    return sum(one != other for one, other in pairs) / len(pairs) if pairs else None


def order_dependence(judgements: Sequence[Judgement]) -> float | None:
    """Share of the judges whose verdicts differ between the two orders; None if none read both."""
    both = [j for j in judgements if j.forward is not None and j.backward is not None]
    return sum(j.forward != j.backward for j in both) / len(both) if both else None


_Scale = tuple[str, Callable[[PairCandidate], float | None]]

_DOUBTS: tuple[tuple[_Scale, ...], ...] = (
    (
        (DISAGREE, lambda pair: disagreement(pair.judgements)),
        (ORDER, lambda pair: order_dependence(pair.judgements)),
    ),
    (
        (CLOSE, lambda pair: None if pair.margin is None else -abs(pair.margin)),
        (UNSURE, lambda pair: _mean_doubt(pair.judgements)),
    ),
    ((UNCERTAIN, lambda pair: pair.uncertainty),),
)
"""The scales of each doubt; for a pair, the scale that ranks it higher counts."""

_Ranks = Mapping[str, tuple[float, str]]
"""pair_id → (rank from 0 to 1, why)."""


def _worths(candidates: Sequence[PairCandidate]) -> dict[str, SelectedForPeople]:
    """pair_id → its worth (mean rank) and the doubt that ranks it highest."""
    ranks = [_ranks(candidates, scales) for scales in _DOUBTS]
    selected = {}
    for pair in candidates:
        known = [rank[pair.pair_id] for rank in ranks if pair.pair_id in rank]
        worth = fsum(rank for rank, _ in known) / len(known) if known else 0.0
        highest, why = max(known, default=(0.0, ROOM), key=lambda ranked: ranked[0])
        selected[pair.pair_id] = SelectedForPeople(
            pair.pair_id, why if highest > _LITTLE else ROOM, worth
        )
    return selected


def _ranks(candidates: Sequence[PairCandidate], scales: Sequence[_Scale]) -> _Ranks:
    """pair_id → the share of the other pairs that are less doubtful, for pairs with a value.

    If judges rarely disagree, the pairs on which they do rank above nearly all, the others at 0.
    """
    ranks: dict[str, tuple[float, str]] = {}
    for why, measure in scales:
        values = {p.pair_id: value for p in candidates if (value := measure(p)) is not None}
        in_order = sorted(values.values())
        for identity, value in values.items():
            rank = bisect_left(in_order, value) / max(1, len(in_order) - 1)
            ranks[identity] = max(ranks.get(identity, (-1.0, "")), (rank, why), key=lambda r: r[0])
    return ranks


def _mean_doubt(judgements: Sequence[Judgement]) -> float | None:
    """Mean of 1 − confidence over the judges."""
    known = [1 - j.confidence for j in judgements if j.confidence is not None]
    return fsum(known) / len(known) if known else None


def _fitting(items: int, hidden: float) -> int:
    """The largest total in which `items` fill what the share `hidden` leaves."""
    return floor(items / (1 - hidden) + _ROUNDING)


def _share(share: float, total: int) -> int:
    return floor(share * total + _ROUNDING)


def _interleave(
    first: Sequence[SelectedForPeople], second: Sequence[SelectedForPeople]
) -> list[SelectedForPeople]:
    """Both lists, each in its order, spread evenly over the result."""
    places = [((i + 0.5) / len(pairs), p) for pairs in (second, first) for i, p in enumerate(pairs)]
    return [pair for _, pair in sorted(places, key=lambda place: place[0])]
