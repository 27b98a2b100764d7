"""Who named which side: judges by the pair, both orders by position, people by position."""

from typing import Any

from labeling.audit.findings import excerpt
from labeling.audit.material import count_votes


def judgement(
    pair: str, verdict: str | None, forward: str | None = None, backward: str | None = None
) -> dict[str, Any]:
    named = {"forward": forward, "backward": backward}
    return {"pair_id": pair, "source": "judge", "verdict": verdict, **named}


def label(pair: str, verdict: str, first: str) -> dict[str, Any]:
    return {"pair_id": pair, "annotator": "anna", "verdict": verdict, "shown_first": first}


def test_sides_and_positions() -> None:
    found = count_votes(
        [
            # Read as (a, b) it names the first answer, read as (b, a) the first again: a tie.
            judgement("p", "tie", forward="a", backward="b"),
            judgement("q", "a", forward="a", backward="a"),
            judgement("r", None),
        ],
        # Anna clicks the answer on the left, whatever stands there.
        [label("s", "b", first="b"), label("t", "a", first="a"), label("u", "tie", first="a")],
    )
    assert found.sides == {
        "judge": {"a": 1},
        "judge (order of reading)": {"a": 3, "b": 1},
        "human:anna (order on screen)": {"a": 2},
    }
    assert found.undecided == {"p", "r", "u"}


def test_one_source_that_decides_is_enough() -> None:
    found = count_votes(
        [judgement("p", "tie"), judgement("q", "tie")], [label("p", "b", first="a")]
    )
    assert found.undecided == {"q"}


def test_excerpts_are_harmless_and_short() -> None:
    assert excerpt("a\n\tb\x1b[31m\u202ec\ud800") == "“a b [31m c”"
    assert excerpt("x" * 61) == "“" + "x" * 60 + "…”"
    assert excerpt("") == "“”"
