"""Estimate each source's error rates from agreement alone (Dawid and Skene 1979), by crowd-kit."""

import math
from collections import Counter

from dpo_core.records import VERDICTS
from labeling.aggregation.votes import Ballot, Ballots, Shares, quiet_crowdkit, votes_frame

SOURCES = 3
"""Fewest sources: when two disagree, only a third shows which one errs."""

_ITERATIONS = 100
"""Most iterations of EM; crowd-kit stops earlier on convergence."""


def count_overlap(ballots: Ballots) -> int:
    """The number of pairs that each of at least three sources shares with two others or more.

    Counts, for every source, the pairs on which it and at least two others voted, and returns the
    third largest count; 0 with fewer than three sources.
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
    """pair_id → verdict → probability of being right, for pairs with votes.

    crowd-kit's EM estimates from all votes, unweighted, the prior π_c of each verdict c and the
    confusion matrix e_s(v | c) of each source s. For the votes v_s on one pair

        P(c | votes) ∝ π_c · Π_s e_s(v_s | c)^w_s

    where a source of weight w_s counts as w_s sources with the same vote.
    """
    from crowdkit.aggregation.classification import DawidSkene

    with quiet_crowdkit():
        fitted = DawidSkene(n_iter=_ITERATIONS).fit(votes_frame(ballots))
        # crowd-kit keeps every probability above 0, so the logarithms exist.
        prior = {c: math.log(p) for c, p in fitted.priors_.items()}
        errors = {
            (source, verdict): {c: math.log(p) for c, p in row.items()}
            for (source, verdict), row in fitted.errors_.iterrows()
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
