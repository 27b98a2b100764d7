"""Votes: one per source and pair, and how they are counted.

A vote of weight w counts as w votes. A tie counts ½ for either side, and so does "both bad" unless
it has the majority.
"""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypedDict

from dpo_core.records import VERDICTS, LabelRow, Verdict, is_person, person

Shares = Mapping[Verdict, float]
"""verdict → its share of the votes on one pair, or its probability; the values sum to 1."""


_EQUAL = 1e-9
"""Tolerance: smaller differences of shares come from rounding."""


class VerdictRow(TypedDict):
    """The columns of JUDGEMENTS that votes are made of."""

    pair_id: str
    source: str
    verdict: Verdict | None


@dataclass(frozen=True)
class Vote:
    """A source's verdict on a pair, and its weight."""

    source: str
    verdict: Verdict
    weight: float = 1.0


@dataclass(frozen=True)
class Ballot:
    """The votes that count on one pair; void: why others do not, one word each."""

    votes: tuple[Vote, ...] = ()
    void: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        return sum(vote.weight for vote in self.votes)

    @property
    def why_silent(self) -> str:
        """Why a pair has no vote: the first of these reasons that applies to a source."""
        reasons = ("judge_unreliable", "retracted", "unreadable", "discarded")
        return next((reason for reason in reasons if reason in self.void), "unlabelled")


Ballots = Mapping[str, Ballot]
"""pair_id → its ballot."""


def gather_votes(
    judgements: Iterable[VerdictRow],
    labels: Iterable[LabelRow] = (),
    weights: Mapping[str, float] | None = None,
    *,
    retracted: Collection[str] = (),
    unreliable: Collection[tuple[str, str]] = (),
) -> dict[str, Ballot]:
    """The votes on each pair from rows of JUDGEMENTS and LABELS, one per source and pair.

    Gold and repeated items measure annotators and do not vote. Of several answers by one person on
    a pair, the last counts.

    Args:
        weights: source → weight, 1 by default; `human` sets the weight of each person.
        retracted: sources that do not vote.
        unreliable: (source, pair_id) of judgements that do not vote.
    """
    gathered: dict[str, _VoteGroups] = defaultdict(_VoteGroups)
    for (source, pair_id), verdict in _verdicts(judgements, labels).items():
        if source in retracted:
            gathered[pair_id].void.append("retracted")
        elif verdict is None:
            gathered[pair_id].void.append("discarded" if is_person(source) else "unreadable")
        elif (source, pair_id) in unreliable:
            gathered[pair_id].void.append("judge_unreliable")
        else:
            vote = Vote(source, verdict, source_weight(source, weights or {}))
            gathered[pair_id].votes[source] = vote
    return {
        pair_id: Ballot(tuple(groups.votes.values()), tuple(groups.void))
        for pair_id, groups in gathered.items()
    }


@dataclass
class _VoteGroups:
    votes: dict[str, Vote] = field(default_factory=dict)
    void: list[str] = field(default_factory=list)


def _verdicts(
    judgements: Iterable[VerdictRow], labels: Iterable[LabelRow]
) -> dict[tuple[str, str], Verdict | None]:
    """(source, pair_id) → the last verdict, of everything that may vote."""
    asked = [row for row in labels if row["kind"] == "pair"]
    asked.sort(key=lambda row: (row["at"] is not None, row["at"], row["label_id"]))
    verdicts = {(r["source"], r["pair_id"]): r["verdict"] for r in judgements}
    return verdicts | {(person(r["annotator"]), r["pair_id"]): r["verdict"] for r in asked}


def source_weight(source: str, weights: Mapping[str, float]) -> float:
    """The weight of a source's votes; every person has that of `human`."""
    return weights.get(source, weights.get("human", 1.0) if is_person(source) else 1.0)


def list_sources(ballots: Ballots) -> list[str]:
    """The sources that voted, sorted."""
    return sorted({vote.source for ballot in ballots.values() for vote in ballot.votes})


def vote_shares(ballots: Ballots) -> dict[str, Shares]:
    """pair_id → verdict → its share of the votes' weight, for pairs with votes.

    Uses crowd-kit's weighted MajorityVote for several sources.
    """
    weights = {v.source: v.weight for ballot in ballots.values() for v in ballot.votes}
    if len(weights) <= 1:
        return {i: _shares_of(ballot.votes) for i, ballot in ballots.items() if ballot.votes}
    import pandas as pd
    from crowdkit.aggregation.classification import MajorityVote

    with quiet_crowdkit():
        frame = MajorityVote().fit_predict_proba(votes_frame(ballots), pd.Series(weights))
    return read_shares(frame)


def votes_frame(ballots: Ballots) -> Any:
    """The votes as crowd-kit's data frame, in an order independent of the pairs' order."""
    import pandas as pd

    rows = [
        (pair_id, vote.source, vote.verdict)
        for pair_id in sorted(ballots)
        for vote in sorted(ballots[pair_id].votes, key=lambda vote: vote.source)
    ]
    return pd.DataFrame(rows, columns=["task", "worker", "label"])


def read_shares(frame: Any) -> dict[str, Shares]:
    """Shares from crowd-kit's frame, which has a row per pair and a column per verdict given."""
    whole = frame.reindex(columns=list(VERDICTS), fill_value=0.0)
    rows = zip(whole.index, whole.itertuples(index=False, name=None), strict=True)
    return {
        str(pair_id): dict(zip(VERDICTS, (float(x) for x in row), strict=True))
        for pair_id, row in rows
    }


def quiet_crowdkit() -> AbstractContextManager[Any]:
    """Silence the DeprecationWarnings that crowd-kit 1.4 causes in pandas 3."""
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)


def undecided_reason(shares: Shares) -> str | None:
    """Why a pair with these shares has no preference, or None when one side leads.

    Returns "both_bad" or "tie" when more than half of the votes say so, and "tie" when neither side
    leads.
    """
    if shares["both_bad"] > 0.5 + _EQUAL:
        return "both_bad"
    return (
        "tie" if shares["tie"] > 0.5 + _EQUAL or abs(share_of_a(shares) - 0.5) <= _EQUAL else None
    )


def share_of_a(shares: Shares) -> float:
    """The share of side a; ties and "both bad" count half.

    Example:
        >>> share_of_a({"a": 0.5, "b": 0.25, "tie": 0.25, "both_bad": 0.0})
        0.625
    """
    return shares["a"] + (shares["tie"] + shares["both_bad"]) / 2


def majority_verdict(votes: Sequence[Vote]) -> Verdict | None:
    """The weighted majority verdict of several votes on a pair; None without votes."""
    if not votes:
        return None
    shares = _shares_of(votes)
    why = undecided_reason(shares)
    if why is not None:
        return "both_bad" if why == "both_bad" else "tie"
    return "a" if share_of_a(shares) > 0.5 else "b"


def _shares_of(votes: Sequence[Vote]) -> Shares:
    total = sum(vote.weight for vote in votes)
    return {
        verdict: sum(vote.weight for vote in votes if vote.verdict == verdict) / total
        for verdict in VERDICTS
    }
