"""How sources err, estimated from how they agree (Dawid and Skene 1979), by crowd-kit."""

import math
from collections import Counter

from dpo_core.records import VERDICTS
from labeling.aggregation.votes import (
    Ballot,
    Ballots,
    Shares,
    quiet_crowdkit,
    votes_frame,
)

SOURCES = 3
"""Two sources that disagree do not say which of them errs; a third does."""

_ITERATIONS = 100
"""Of EM at most; crowd-kit stops earlier where nothing changes any more."""


def count_overlap(ballots: Ballots) -> int:
    """The most pairs that each of at least three sources has in common with two others or more.

    Of every source the pairs are counted on which it and at least two others voted; the overlap is
    the third greatest of these counts, 0 with fewer than three sources.
    """
    shared = Counter(
        vote.source
        for ballot in ballots.values()
        if len({vote.source for vote in ballot.votes}) >= SOURCES
        for vote in ballot.votes
    )
    counts = sorted(shared.values(), reverse=True)
    return counts[SOURCES - 1] if len(counts) >= SOURCES else 0


def posteriors(ballots: Ballots) -> dict[str, Shares]:
    """pair_id → probability of each verdict being the right one, for pairs with votes.

    crowd-kit estimates by EM, from all votes alike, how common the right verdicts c are, π_c, and
    how each source answers where c is right, e_s(v | c). Then for the votes v_s on one pair

        P(c | votes) ∝ π_c · Π_s e_s(v_s | c)^w_s

    with the weights of the sources: one of weight w counts as w that said the same.
    """
    from crowdkit.aggregation.classification import DawidSkene

    with quiet_crowdkit():
        fitted = DawidSkene(n_iter=_ITERATIONS).fit(votes_frame(ballots))
        # crowd-kit lets no probability be 0, so all have logarithms.
        prior = {c: math.log(p) for c, p in fitted.priors_.items()}
        errors = {
            (source, said): {c: math.log(p) for c, p in row.items()}
            for (source, said), row in fitted.errors_.iterrows()
        }
    return {
        pair_id: _posterior(ballot, prior, errors)
        for pair_id, ballot in ballots.items()
        if ballot.votes
    }


def _posterior(
    ballot: Ballot,
    prior: dict[str, float],
    errors: dict[tuple[str, str], dict[str, float]],
) -> Shares:
    logs = {
        c: log_p + sum(v.weight * errors[(v.source, v.verdict)][c] for v in ballot.votes)
        for c, log_p in prior.items()
    }
    highest = max(logs.values())
    weights = {c: math.exp(log - highest) for c, log in logs.items()}
    total = math.fsum(weights.values())
    return {verdict: weights.get(verdict, 0.0) / total for verdict in VERDICTS}
