"""From judgements to preferences: what the sources together say about one pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpo_core.records import Judgement


@dataclass(frozen=True)
class Aggregate:
    """`better` is the side the sources prefer; `agreement` the share of them that say so."""

    better: Literal["a", "b"]
    p_chosen: float
    agreement: float


def aggregate(judgements: Sequence[Judgement]) -> Aggregate | str:
    """The majority of the verdicts, or in a word why the pair is no preference.

    Abstentions do not vote. A pair that is tied, or judged both bad, never becomes a preference.
    """
    votes = [j.verdict for j in judgements if j.verdict is not None]
    if not votes:
        return "unreadable"
    a, b = votes.count("a"), votes.count("b")
    if a == b:
        return "both_bad" if votes.count("both_bad") > votes.count("tie") else "tie"
    winners = max(a, b)
    if winners * 2 <= len(votes):
        return "no_majority"
    return Aggregate("a" if a > b else "b", p_chosen=1.0, agreement=winners / len(votes))
