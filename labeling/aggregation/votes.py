"""Who said what of each pair: one vote per source and pair, and how votes are counted.

A vote of weight w counts as w votes. Ties are votes of ½ for either side, and so is "both bad" in a
pair that is not mostly held to be both bad.
"""

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from dpo_core.records import VERDICTS, Verdict, is_person, person

Shares = Mapping[Verdict, float]
"""What part of the votes, or which probability, each verdict has on one pair; together 1."""


@dataclass(frozen=True)
class Vote:
    """What one source says of a pair, and as how many votes that counts."""

    source: str
    verdict: Verdict
    weight: float = 1.0


@dataclass(frozen=True)
class Ballot:
    """What was said of one pair: the votes that count, and in a word why others do not."""

    votes: tuple[Vote, ...] = ()
    void: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        return sum(vote.weight for vote in self.votes)

    @property
    def why_silent(self) -> str:
        """Why a pair without a vote has none; the first of these that holds for a source."""
        reasons = ("judge_unreliable", "retracted", "unreadable", "discarded")
        return next((reason for reason in reasons if reason in self.void), "unlabelled")


Ballots = Mapping[str, Ballot]
"""pair_id → what was said of it."""


def gather_votes(
    judgements: Iterable[Mapping[str, Any]],
    labels: Iterable[Mapping[str, Any]] = (),
    weights: Mapping[str, float] | None = None,
    *,
    retracted: Collection[str] = (),
    unreliable: Collection[tuple[str, str]] = (),
) -> dict[str, Ballot]:
    """The votes on each pair from rows of JUDGEMENTS and LABELS, one per source and pair.

    weights: of sources; that of `human` is each person's; 1 for those without one. retracted:
    sources that were taken back. unreliable: (source, pair_id) of judgements that do not vote.
    Gold and repeated items measure annotators and do not vote; of several answers of one
    person on a pair the last one counts.
    """
    gathered: dict[str, _VoteGroups] = defaultdict(_VoteGroups)
    for source, row in _said(judgements, labels):
        pair_id, verdict = row["pair_id"], row["verdict"]
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
        pair_id: Ballot(tuple(found.votes.values()), tuple(found.void))
        for pair_id, found in gathered.items()
    }


@dataclass
class _VoteGroups:
    votes: dict[str, Vote] = field(default_factory=dict)
    void: list[str] = field(default_factory=list)


def _said(
    judgements: Iterable[Mapping[str, Any]], labels: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """(source, row) of all that may vote: each (source, pair) once."""
    yield from {(r["source"], r["pair_id"]): (r["source"], r) for r in judgements}.values()
    asked = [row for row in labels if row["kind"] == "pair"]
    asked.sort(key=lambda row: (row["at"] is not None, row["at"], row["label_id"]))
    yield from {(r["annotator"], r["pair_id"]): (person(r["annotator"]), r) for r in asked}.values()


def source_weight(source: str, weights: Mapping[str, float]) -> float:
    """The weight of a source's votes; a person carries that of `human`."""
    return weights.get(source, weights.get("human", 1.0) if is_person(source) else 1.0)


def list_sources(ballots: Ballots) -> list[str]:
    """Those who voted, in alphabetical order."""
    return sorted({vote.source for ballot in ballots.values() for vote in ballot.votes})


def vote_shares(ballots: Ballots) -> dict[str, Shares]:
    """pair_id → what part of the weight of its votes each verdict has, for pairs with votes.

    Several sources are counted by crowd-kit's weighted MajorityVote; one needs no counting.
    """
    weights = {v.source: v.weight for ballot in ballots.values() for v in ballot.votes}
    if len(weights) <= 1:
        return {i: _shares_of(ballot.votes) for i, ballot in ballots.items() if ballot.votes}
    import pandas as pd
    from crowdkit.aggregation.classification import MajorityVote

    with quiet_crowdkit():
        found = MajorityVote().fit_predict_proba(votes_frame(ballots), pd.Series(weights))
    return read_shares(found)


def votes_frame(ballots: Ballots) -> Any:
    """The votes as crowd-kit reads them, in an order that does not depend on that of the pairs."""
    import pandas as pd

    rows = [
        (pair_id, vote.source, vote.verdict)
        for pair_id in sorted(ballots)
        for vote in sorted(ballots[pair_id].votes, key=lambda vote: vote.source)
    ]
    return pd.DataFrame(rows, columns=["task", "worker", "label"])


def read_shares(frame: Any) -> dict[str, Shares]:
    """crowd-kit's frame (a row per pair, a column per verdict that occurs) as shares."""
    whole = frame.reindex(columns=list(VERDICTS), fill_value=0.0)
    rows = zip(whole.index, whole.itertuples(index=False, name=None), strict=True)
    return {
        str(pair_id): dict(zip(VERDICTS, (float(x) for x in row), strict=True))
        for pair_id, row in rows
    }


def quiet_crowdkit() -> AbstractContextManager[Any]:
    """crowd-kit 1.4 calls pandas in ways that pandas 3 deprecates; that is no news for anybody."""
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)


def undecided_reason(shares: Shares) -> str | None:
    """Why a pair with these shares is no preference, in a word; None where one side leads.

    both_bad, tie: more than half the votes say so; or, for a tie, neither side leads.
    """
    if shares["both_bad"] > 0.5 + _EQUAL:
        return "both_bad"
    return (
        "tie" if shares["tie"] > 0.5 + _EQUAL or abs(share_of_a(shares) - 0.5) <= _EQUAL else None
    )


def share_of_a(shares: Shares) -> float:
    """The share of side a: ties, and votes for neither side, are halves."""
    return shares["a"] + (shares["tie"] + shares["both_bad"]) / 2


_EQUAL = 1e-9
"""Differences of shares up to here come from rounding."""


def majority_verdict(votes: Sequence[Vote]) -> Verdict | None:
    """The one verdict that several votes on a pair come to; None without a vote."""
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
