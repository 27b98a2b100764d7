"""What the verdicts on one pair amount to."""

from typing import Any

import pytest

from dpo_core.records import Judgement
from labeling.aggregation.votes import Aggregate, aggregate


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["a"], Aggregate("a", 1.0, 1.0)),
        (["b"], Aggregate("b", 1.0, 1.0)),
        (["b", None, None], Aggregate("b", 1.0, 1.0)),  # abstentions do not vote
        (["a", "a", "b"], Aggregate("a", 1.0, 2 / 3)),
        (["a", "a", "tie"], Aggregate("a", 1.0, 2 / 3)),
        (["a", "tie"], "no_majority"),
        (["a", "tie", "tie"], "no_majority"),
        (["a", "b"], "tie"),
        (["tie"], "tie"),
        (["both_bad"], "both_bad"),
        (["both_bad", "tie"], "tie"),
        (["both_bad", "both_bad", "a", "b"], "both_bad"),
        ([None, None], "unreadable"),
        ([], "unreadable"),
    ],
)
def test_what_judgements_amount_to(verdicts: list[Any], expected: Aggregate | str) -> None:
    for order in (verdicts, verdicts[::-1]):
        assert aggregate([Judgement(verdict) for verdict in order]) == expected
