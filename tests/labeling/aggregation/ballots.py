"""Votes in short, for the tests here."""

from collections.abc import Mapping
from typing import Any

from labeling.aggregation.votes import Ballot, Vote


def ballot(verdicts: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> Ballot:
    """source → verdict as a ballot."""
    return Ballot(tuple(Vote(s, v, (weights or {}).get(s, 1.0)) for s, v in verdicts.items()))
