"""Agreement of a round's sources. An undefined value is None, never NaN; `n` counts its base."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.records import VERDICTS, Verdict, is_person
from labeling.aggregation.votes import Ballots, Vote, list_sources, majority_verdict


@dataclass(frozen=True)
class Rate:
    """A share of `n`; `value` is None where n is 0."""

    value: float | None = None
    n: int = 0

    @classmethod
    def from_hits(cls, hits: Sequence[float]) -> "Rate":
        """The mean of `hits`.

        Example:
            >>> Rate.from_hits([True, False])
            Rate(value=0.5, n=2)
        """
        return cls(sum(hits) / len(hits) if hits else None, len(hits))

    @property
    def hits(self) -> int:
        return round((self.value or 0.0) * self.n)


@dataclass(frozen=True)
class Kappa:
    """Cohen's κ of a judge against people over `n` pairs, and `agree`, the share they agree on."""

    value: float | None = None
    n: int = 0
    agree: float | None = None


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's α (nominal) among `people` annotators, over `n` pairs with several answers."""

    value: float | None = None
    n: int = 0
    people: int = 0


@dataclass(frozen=True)
class RoundAgreement:
    """Agreement in one round.

    mean: mean `agreement` of the preferences. kappa: judge → κ against people. alpha: α among
    people. with_others: source → share of the other sources' votes that agree with it, on the pairs
    it shares with them; `n` counts these pairs.
    """

    mean: Rate = Rate()
    alpha: Alpha = Alpha()
    kappa: Mapping[str, Kappa] = field(default_factory=dict)
    with_others: Mapping[str, Rate] = field(default_factory=dict)


def round_agreement(ballots: Ballots, preferences: Sequence[float]) -> RoundAgreement:
    """Measure the agreement in one round.

    Args:
        ballots: pair_id → votes.
        preferences: `agreement` of each preference.
    """
    sources = list_sources(ballots)
    judges = [source for source in sources if not is_person(source)]
    return RoundAgreement(
        mean=Rate.from_hits(preferences),
        alpha=alpha_among_people(ballots),
        kappa={s: kappa for s in judges if (kappa := kappa_against_people(ballots, s)).n},
        with_others={s: rate for s in sources if (rate := agreement_with_others(ballots, s)).n},
    )


def cohen_kappa(pairs: Sequence[tuple[Verdict, Verdict]]) -> Kappa:
    """Cohen's κ = (p_o − p_e)/(1 − p_e) of two raters (Cohen 1960).

    Undefined where chance agreement is certain (p_e = 1: both raters always give one verdict).

    Args:
        pairs: the two raters' verdicts on each pair.

    Example:
        >>> cohen_kappa([("a", "a"), ("b", "b"), ("a", "b"), ("b", "a")])
        Kappa(value=0.0, n=4, agree=0.5)
    """
    if not pairs:
        return Kappa()
    from sklearn.metrics import cohen_kappa_score

    agree = sum(one == other for one, other in pairs) / len(pairs)
    with warnings.catch_warnings(action="ignore"):  # an undefined κ shows in its value
        value = float(cohen_kappa_score(*zip(*pairs, strict=True), labels=list(VERDICTS)))
    return Kappa(value if math.isfinite(value) else None, len(pairs), agree)


def krippendorff_alpha(answers: Iterable[Sequence[Verdict]]) -> tuple[float | None, int]:
    """Krippendorff's α = 1 − D_o/D_e for nominal data.

    Undefined where all answers are the same verdict, since chance then explains the agreement.

    Args:
        answers: one sequence of verdicts per unit; units with fewer than two are ignored.

    Returns:
        (α or None, number of units used).

    Example:
        >>> krippendorff_alpha([["a", "a"], ["b", "b"], ["a"]])
        (1.0, 2)
    """
    units = [unit for unit in answers if len(unit) > 1]
    if len({verdict for unit in units for verdict in unit}) < 2:
        return None, len(units)
    import krippendorff

    counts = [[unit.count(verdict) for verdict in VERDICTS] for unit in units]
    alpha = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    return float(alpha), len(units)


def alpha_among_people(ballots: Ballots) -> Alpha:
    """Krippendorff's α of people's votes, on pairs that several people judged."""
    by_pair = [_of_people(ballot.votes) for ballot in ballots.values()]
    several = [votes for votes in by_pair if len(votes) > 1]
    value, units = krippendorff_alpha([vote.verdict for vote in votes] for votes in several)
    return Alpha(value, units, len({vote.source for votes in several for vote in votes}))


def kappa_against_people(ballots: Ballots, judge: str) -> Kappa:
    """Cohen's κ of a judge against the majority of people on the same pairs."""
    pairs = []
    for ballot in ballots.values():
        own = next((vote.verdict for vote in ballot.votes if vote.source == judge), None)
        people = majority_verdict(_of_people(ballot.votes))
        if own is not None and people is not None:
            pairs.append((own, people))
    return cohen_kappa(pairs)


def agreement_with_others(ballots: Ballots, source: str) -> Rate:
    """Mean over pairs of the weighted share of the other votes that agree with the source's."""
    shares = []
    for ballot in ballots.values():
        own = next((vote for vote in ballot.votes if vote.source == source), None)
        others = [vote for vote in ballot.votes if vote.source != source]
        if own is not None and others:
            same = sum(vote.weight for vote in others if vote.verdict == own.verdict)
            shares.append(same / sum(vote.weight for vote in others))
    return Rate.from_hits(shares)


def _of_people(votes: Iterable[Vote]) -> list[Vote]:
    return [vote for vote in votes if is_person(vote.source)]
