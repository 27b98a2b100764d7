"""Who votes on a pair, and what votes come to."""

from datetime import UTC, datetime
from typing import Any

import pytest
from ballots import ballot

from labeling.aggregation.votes import (
    Ballot,
    Vote,
    gather_votes,
    majority_verdict,
    share_of_a,
    undecided_reason,
    vote_shares,
)


def judged(source: str, verdict: str | None, pair_id: str = "p") -> dict[str, Any]:
    return {"pair_id": pair_id, "source": source, "verdict": verdict}


def label(annotator: str, verdict: str | None, **changed: Any) -> dict[str, Any]:
    return {
        "label_id": f"{annotator}-1",
        "pair_id": "p",
        "kind": "pair",
        "annotator": annotator,
        "verdict": verdict,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        **changed,
    }


def test_judges_and_people_vote_together_each_by_weight() -> None:
    found = gather_votes(
        [judged("rule", "a"), judged("llm", "b")],
        [label("ann", "b"), label("bob", "tie")],
        {"rule": 2.0, "human": 3.0},
    )
    assert found["p"].votes == (
        Vote("rule", "a", 2.0),
        Vote("llm", "b", 1.0),
        Vote("human:ann", "b", 3.0),
        Vote("human:bob", "tie", 3.0),
    )
    # Of 9 votes 2 name a, 4 name b, and 3 are halves: (2 + 3/2)/9 for a.
    assert share_of_a(vote_shares(found)["p"]) == pytest.approx(3.5 / 9)


def test_gold_and_repeats_do_not_vote_and_the_last_answer_counts() -> None:
    later = datetime(2026, 1, 2, tzinfo=UTC)
    found = gather_votes(
        [],
        [
            label("ann", "b", at=later, label_id="x"),
            label("ann", "a"),
            label("ann", "a", kind="repeat", at=later),
            label("ann", "a", kind="gold", pair_id="g"),
        ],
    )
    assert found == {"p": ballot({"human:ann": "b"})}


@pytest.mark.parametrize(
    ("judgements", "labels", "why"),
    [
        ([], [label("ann", None)], "discarded"),
        ([judged("rule", None)], [label("ann", None)], "unreadable"),
        ([judged("gone", "a")], [label("ann", None)], "retracted"),
        ([judged("unsure", "a"), judged("gone", "a")], [], "judge_unreliable"),
    ],
)
def test_why_a_pair_has_no_vote(judgements: Any, labels: Any, why: str) -> None:
    options = {"retracted": ["gone"], "unreliable": {("unsure", "p")}}
    assert gather_votes(judgements, labels, **options)["p"].why_silent == why


def test_who_was_taken_back_does_not_vote() -> None:
    rows = [judged("rule", "a"), judged("llm", "b")], [label("ann", "b"), label("bob", "b")]
    found = gather_votes(*rows, retracted=["llm", "human:bob"])
    assert found["p"].votes == (Vote("rule", "a"), Vote("human:ann", "b"))


def test_nobody_was_asked() -> None:
    assert Ballot().why_silent == "unlabelled"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ("a", "a"),
        ("aab", "a"),
        ("bt", "b"),  # b leads by half a vote
        ("btt", "tie"),  # mostly tied
        ("ab", "tie"),
        ("abt", "tie"),
        ("x", "both_bad"),
        ("xxb", "both_bad"),
        ("xb", "b"),  # not more than half: half a vote for each side
        ("xt", "tie"),
        ("", None),
    ],
)
def test_what_votes_come_to(verdicts: str, expected: str | None) -> None:
    names = {"a": "a", "b": "b", "t": "tie", "x": "both_bad"}
    said = {f"s{place}": names[verdict] for place, verdict in enumerate(verdicts)}
    assert majority_verdict(ballot(said).votes) == expected
    if verdicts:  # counted by the library, together with another pair
        shares = vote_shares({"p": ballot(said), "other": ballot({"s0": "b", "s9": "tie"})})["p"]
        side = "a" if share_of_a(shares) > 0.5 else "b"
        assert (undecided_reason(shares) or side) == expected
