"""Which pairs people are asked about: those where a label is worth most, and a random share.

What is known of a pair before anybody is asked comes down to three doubts:

- the judges disagree, among themselves or one of them with itself in the other order of reading
  (query by committee: Seung, Opper and Sompolinsky 1992);
- the answers are close: a small score margin, or judges of low confidence (uncertainty sampling:
  Lewis and Gale 1994);
- the policy is uncertain: high predictive entropy, which Muldrew et al., Active Preference
  Learning for Large Language Models, 2024 (arXiv:2402.08114), estimate from sampled log-probs.

They are measured on scales that have nothing in common, so each becomes a rank among the round's
pairs, and the mean of the ranks is the pair's worth. All functions are pure; chance is a hash.
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
"""Ranks up to here, those of the less doubtful half, are no reason."""

_ROUNDING = 1e-9
"""A tenth of 30 is 3, although 0.1 · 30 may be a little less in binary."""


@dataclass(frozen=True)
class PairCandidate:
    """A pair of a round with what is known of it; what is not known is None or left out.

    judgements: of the judges that need no person, one each. margin: the score difference of the
    two answers. uncertainty: see `policy_uncertainty`.
    """

    pair_id: str
    judgements: tuple[Judgement, ...] = ()
    margin: float | None = None
    uncertainty: float | None = None


@dataclass(frozen=True)
class LabelPlan:
    """How many pairs are asked about, and how they are chosen.

    calibration_share: of these pairs, a simple random sample of all candidates. unreliable: ids of
    pairs on which the judges are not trusted; they come before all that are not picked at random.
    """

    pairs: int
    seed: int
    choose: Literal["worth", "random"] = "worth"
    calibration_share: float = 0.0
    unreliable: Collection[str] = ()


@dataclass(frozen=True)
class SelectedForPeople:
    """A pair that people are asked about: `why` in words, `worth` from 0 to 1.

    Those whose `why` is RANDOM are together a simple random sample of the round's pairs: what
    people say about them can be compared with the judges without bias.
    """

    pair_id: str
    why: str
    worth: float


@dataclass(frozen=True)
class LabelBudget:
    """What a budget of answers is spent on; everything is answered by `answers_each` people."""

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
    """How many of a round's `pairs`, of the known `gold` ones, and of repeats can be asked.

    Gold and repeats are their shares of all that is asked, rounded down, and stay hidden among
    pairs, so that they too are answered by `min_submitted` people. Together they stay within
    `human_labels`; without it every pair is asked.
    """
    asked = _fitting(pairs, people.gold_share + people.repeat_share)
    if budget.human_labels is not None:
        asked = min(asked, budget.human_labels // people.min_submitted)
    golden = min(gold, _share(people.gold_share, asked))
    asked = min(asked, _fitting(pairs + golden, people.repeat_share))  # gold may be lacking
    repeats = _share(people.repeat_share, asked)
    return LabelBudget(asked - golden - repeats, golden, repeats, people.min_submitted)


def choose_for_people(
    candidates: Sequence[PairCandidate], plan: LabelPlan
) -> list[SelectedForPeople]:
    """The pairs that people are asked about, those that matter most first.

    Any beginning of the list holds about the same share of random pairs, so that what is answered
    when time runs out is still good for calibration. Equal candidates in any order give the same.
    """
    worths = _worths(candidates)
    shuffled = sorted(worths, key=lambda pair_id: derive_seed(plan.seed, pair_id))
    wanted = min(plan.pairs, len(shuffled))
    share = 1.0 if plan.choose == "random" else plan.calibration_share
    at_random = shuffled[: floor(share * wanted + 0.5)]

    # Sorting is stable: among equals the hash decides.
    ranked = sorted((worths[p] for p in shuffled[len(at_random) :]), key=lambda c: -c.worth)
    distrusted = [replace(c, why=UNRELIABLE) for c in ranked if c.pair_id in plan.unreliable]
    by_worth = distrusted + [c for c in ranked if c.pair_id not in plan.unreliable]
    return _merged(
        [replace(worths[p], why=RANDOM) for p in at_random], by_worth[: wanted - len(at_random)]
    )


def policy_uncertainty(*token_logps: Sequence[float] | None) -> float | None:
    """Nats per token: −mean log π(token) of each completion as it was sampled, then their mean.

    At temperature 1 the log-prob of a sampled token is an unbiased estimate of the negative entropy
    there, so that this estimates the policy's mean entropy along its answers; at others it still
    orders them. None where a log-prob is missing.
    """
    means = [fsum(logps) / len(logps) if logps else None for logps in token_logps]
    known = [mean for mean in means if mean is not None]
    return -fsum(known) / len(known) if known and len(known) == len(means) else None


def disagreement(judgements: Sequence[Judgement]) -> float | None:
    """Share of the pairs of judges that name different verdicts; abstentions do not count."""
    verdicts = [j.verdict for j in judgements if j.verdict is not None]
    pairs = list(combinations(verdicts, 2))
    return sum(one != other for one, other in pairs) / len(pairs) if pairs else None


def order_dependence(judgements: Sequence[Judgement]) -> float | None:
    """Share of the judges that read both orders whose two verdicts differ."""
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
        (UNSURE, lambda pair: _doubt_of_judges(pair.judgements)),
    ),
    ((UNCERTAIN, lambda pair: pair.uncertainty),),
)
"""Each doubt with its scales, of which the one that ranks a pair higher counts."""

_Ranks = Mapping[str, tuple[float, str]]
"""pair_id → (rank from 0 to 1, why)."""


def _worths(candidates: Sequence[PairCandidate]) -> dict[str, SelectedForPeople]:
    """pair_id → its worth: the mean of its ranks, and the doubt that ranks it highest."""
    ranks = [_ranks(candidates, scales) for scales in _DOUBTS]
    found = {}
    for pair in candidates:
        known = [rank[pair.pair_id] for rank in ranks if pair.pair_id in rank]
        worth = fsum(rank for rank, _ in known) / len(known) if known else 0.0
        highest, why = max(known, default=(0.0, ROOM), key=lambda ranked: ranked[0])
        found[pair.pair_id] = SelectedForPeople(
            pair.pair_id, why if highest > _LITTLE else ROOM, worth
        )
    return found


def _ranks(candidates: Sequence[PairCandidate], scales: Sequence[_Scale]) -> _Ranks:
    """The share of the other pairs that are less doubtful, for pairs of which that is known.

    So where judges rarely disagree, the pairs on which they do stand above nearly all, and the
    others at 0.
    """
    found: dict[str, tuple[float, str]] = {}
    for why, measure in scales:
        values = {p.pair_id: value for p in candidates if (value := measure(p)) is not None}
        in_order = sorted(values.values())
        for identity, value in values.items():
            rank = bisect_left(in_order, value) / max(1, len(in_order) - 1)
            found[identity] = max(found.get(identity, (-1.0, "")), (rank, why), key=lambda r: r[0])
    return found


def _doubt_of_judges(judgements: Sequence[Judgement]) -> float | None:
    """Mean probability, in the judges' own opinion, that they are wrong."""
    known = [1 - j.confidence for j in judgements if j.confidence is not None]
    return fsum(known) / len(known) if known else None


def _fitting(items: int, hidden: float) -> int:
    """The largest total of which `items` are what the share `hidden` leaves."""
    return floor(items / (1 - hidden) + _ROUNDING)


def _share(share: float, total: int) -> int:
    return floor(share * total + _ROUNDING)


def _merged(
    first: Sequence[SelectedForPeople], second: Sequence[SelectedForPeople]
) -> list[SelectedForPeople]:
    """Both, each in its order, spread evenly over the whole."""
    places = [((i + 0.5) / len(each), c) for each in (second, first) for i, c in enumerate(each)]
    return [chosen for _, chosen in sorted(places, key=lambda place: place[0])]
