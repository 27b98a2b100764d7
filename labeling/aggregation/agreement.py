"""How far those who judged a round agree. What is undefined is None, never NaN; n says how many."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.records import VERDICTS, Verdict, is_person
from labeling.aggregation.votes import Ballots, Vote, list_sources, majority_verdict


@dataclass(frozen=True)
class Rate:
    """A share of `n`; `value` is None where n is 0."""

    value: float | None
    n: int

    @classmethod
    def from_hits(cls, hits: Sequence[float]) -> "Rate":
        return cls(sum(hits) / len(hits) if hits else None, len(hits))


@dataclass(frozen=True)
class Kappa:
    """Cohen's κ of a judge against people over `n` pairs, and the share they agree on."""

    value: float | None
    n: int
    agree: float | None


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's α (nominal) among `people`, over the `n` pairs that several answered."""

    value: float | None
    n: int
    people: int


@dataclass(frozen=True)
class RoundAgreement:
    """Agreement in one round.

    mean: of the preferences' `agreement`. kappa: judge → against people. alpha: among people.
    with_others: source → the share of the other sources' votes, on the pairs it shares with them,
    that say the same; `n` counts these pairs.
    """

    mean: Rate
    alpha: Alpha
    kappa: Mapping[str, Kappa] = field(default_factory=dict)
    with_others: Mapping[str, Rate] = field(default_factory=dict)


def round_agreement(ballots: Ballots, preferences: Sequence[float]) -> RoundAgreement:
    """Everything measured of a round's votes; preferences: the agreement of each of them."""
    sources = list_sources(ballots)
    judges = [source for source in sources if not is_person(source)]
    return RoundAgreement(
        mean=Rate.from_hits(preferences),
        alpha=alpha_among_people(ballots),
        kappa={s: kappa for s in judges if (kappa := kappa_against_people(ballots, s)).n},
        with_others={s: rate for s in sources if (rate := agreement_with_others(ballots, s)).n},
    )


def cohen_kappa(pairs: Sequence[tuple[Verdict, Verdict]]) -> Kappa:
    """Cohen 1960: κ = (p_o − p_e)/(1 − p_e), of two raters' verdicts on each of several pairs.

    Undefined where chance alone would agree always (p_e = 1: both name one verdict throughout).
    """
    if not pairs:
        return Kappa(None, 0, None)
    from sklearn.metrics import cohen_kappa_score

    agree = sum(one == other for one, other in pairs) / len(pairs)
    with warnings.catch_warnings(action="ignore"):  # an undefined κ is told by its value
        value = float(cohen_kappa_score(*zip(*pairs, strict=True), labels=list(VERDICTS)))
    return Kappa(value if math.isfinite(value) else None, len(pairs), agree)


def krippendorff_alpha(answers: Iterable[Sequence[Verdict]]) -> tuple[float | None, int]:
    """(α, units): Krippendorff's α = 1 − D_o/D_e for nominal data, one sequence per unit.

    Units with fewer than two answers do not count. Undefined where all answers are the same
    verdict, of which chance is not to be told apart from agreement.
    """
    units = [unit for unit in answers if len(unit) > 1]
    if len({verdict for unit in units for verdict in unit}) < 2:
        return None, len(units)
    import krippendorff

    counts = [[unit.count(verdict) for verdict in VERDICTS] for unit in units]
    alpha = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    return float(alpha), len(units)


def alpha_among_people(ballots: Ballots) -> Alpha:
    """Krippendorff's α of people's votes, on the pairs that several of them judged."""
    by_pair = [_of_people(ballot.votes) for ballot in ballots.values()]
    several = [votes for votes in by_pair if len(votes) > 1]
    value, units = krippendorff_alpha([vote.verdict for vote in votes] for votes in several)
    return Alpha(value, units, len({vote.source for votes in several for vote in votes}))


def kappa_against_people(ballots: Ballots, judge: str) -> Kappa:
    """A judge's verdicts against what people together say of the same pairs."""
    pairs = []
    for ballot in ballots.values():
        own = next((vote.verdict for vote in ballot.votes if vote.source == judge), None)
        people = majority_verdict(_of_people(ballot.votes))
        if own is not None and people is not None:
            pairs.append((own, people))
    return cohen_kappa(pairs)


def agreement_with_others(ballots: Ballots, source: str) -> Rate:
    """How far a source agrees with the others, by the weight of their votes, pair by pair."""
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
