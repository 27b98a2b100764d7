"""Agreement, against published worked examples and by hand."""

from typing import Any

import pytest
from ballots import ballot

from dpo_core.records import VERDICTS, Verdict
from labeling.aggregation.agreement import (
    Alpha,
    Kappa,
    Rate,
    agreement_with_others,
    alpha_among_people,
    cohen_kappa,
    krippendorff_alpha,
    round_agreement,
)
from labeling.aggregation.annotators import Annotator, measure_annotators
from labeling.aggregation.drift import detect_drift, drift_measures


def test_kappa_of_the_grant_proposals() -> None:
    """The worked example of Wikipedia's "Cohen's kappa": 20 yes/yes, 5, 10, 15 no/no of 50.

    p_o = 35/50 = 0.7; p_e = (25/50)(30/50) + (25/50)(20/50) = 0.5; κ = 0.2/0.5 = 0.4.
    """
    cells: list[tuple[Verdict, Verdict, int]] = [
        ("a", "a", 20),
        ("a", "b", 5),
        ("b", "a", 10),
        ("b", "b", 15),
    ]
    pairs = [(one, other) for one, other, times in cells for _ in range(times)]
    found = cohen_kappa(pairs)
    assert (found.value, found.n, found.agree) == (pytest.approx(0.4), 50, pytest.approx(0.7))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], Kappa(None, 0, None)),
        ([("a", "a")] * 3, Kappa(None, 3, 1.0)),  # p_e = 1
        ([("a", "b")] * 3, Kappa(0.0, 3, 0.0)),
        ([("a", "b"), ("b", "a")], Kappa(-1.0, 2, 0.0)),  # p_o = 0, p_e = ½
    ],
)
def test_kappa_at_its_edges(pairs: Any, expected: Kappa) -> None:
    assert cohen_kappa(pairs) == expected


def test_alpha_of_three_coders() -> None:
    """The worked example of Wikipedia's "Krippendorff's alpha": nominal α = 0.691 of 15 units.

    Values 1 to 4 stand for the four verdicts; 12 units have two answers or more, 26 answers.
    """
    coders = [
        [0, 0, 0, 0, 0, 3, 4, 1, 2, 1, 1, 3, 3, 0, 3],
        [1, 0, 2, 1, 3, 3, 4, 3, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 2, 1, 3, 4, 4, 0, 2, 1, 1, 3, 3, 0, 4],
    ]
    units = [[VERDICTS[v - 1] for v in unit if v] for unit in zip(*coders, strict=True)]
    value, n = krippendorff_alpha(units)
    assert (value, n) == (pytest.approx(0.691358, abs=1e-6), 12)


@pytest.mark.parametrize(
    ("units", "expected"),
    [([], (None, 0)), ([["a"], ["b"]], (None, 0)), ([["a", "a"], ["a", "a"]], (None, 2))],
)
def test_alpha_is_undefined_without_different_answers(units: Any, expected: Any) -> None:
    assert krippendorff_alpha(units) == expected


def test_a_round() -> None:
    """Three pairs; people together say a, tie (one each side), and nothing."""
    ballots = {
        "1": ballot({"llm": "a", "human:x": "a", "human:y": "a"}),
        "2": ballot({"llm": "a", "human:x": "a", "human:y": "b"}),
        "3": ballot({"llm": "b"}),
    }
    found = round_agreement(ballots, [1.0, 0.5])
    assert found.mean == Rate(0.75, 2)
    # llm against people: (a, a) and (a, tie): p_o = ½, p_e = 1·½, so κ = 0.
    assert found.kappa == {"llm": Kappa(0.0, 2, 0.5)}
    # With others, per pair: llm 2 of 2, then 1 of 2; x the same; y 2 of 2, then 0 of 2.
    assert found.with_others == {
        "human:x": Rate(0.75, 2),
        "human:y": Rate(0.5, 2),
        "llm": Rate(0.75, 2),
    }
    # α of a,a and a,b: coincidences o_aa 2, o_ab = o_ba 1, so D_o = 2/4; n_a 3, n_b 1:
    # D_e = 2·3·1/(4·3) = ½; α = 0.
    assert found.alpha == Alpha(pytest.approx(0.0), 2, 2)


def test_a_lone_judge_agrees_with_nobody() -> None:
    found = round_agreement({"1": ballot({"rule": "a"})}, [1.0])
    assert (found.kappa, found.with_others, found.alpha) == ({}, {}, Alpha(None, 0, 0))
    assert alpha_among_people({}) == Alpha(None, 0, 0)


def test_agreement_with_others_is_by_weight() -> None:
    ballots = {"1": ballot({"s": "a", "t": "a", "u": "b"}, {"u": 3.0})}
    assert agreement_with_others(ballots, "s") == Rate(0.25, 1)


def answer(kind: str, verdict: str | None, pair_id: str, **changed: Any) -> dict[str, Any]:
    row = {"annotator": "ann", "kind": kind, "verdict": verdict, "pair_id": pair_id}
    return {**row, "expected": None, "shown_first": "a", **changed}


def test_an_annotator_is_measured() -> None:
    rows = [
        answer("pair", "a", "1"),
        answer("pair", "b", "2", shown_first="b"),
        answer("pair", "tie", "3"),
        answer("pair", None, "4"),
        answer("repeat", "a", "1", shown_first="b"),
        answer("repeat", "a", "2"),
        answer("repeat", "a", "4"),  # discarded the first time: nothing to compare with
        answer("gold", "b", "g", expected="b"),
        answer("gold", "b", "h", expected="a", shown_first="b"),
        answer("pair", "a", "1", annotator="bob"),
    ]
    found = measure_annotators(rows, retracted=["human:bob"])
    assert found == {
        "ann": Annotator(
            labels=3,
            discarded=1,
            gold=Rate(0.5, 2),
            repeats=Rate(0.5, 2),
            # Sides named: 1 first, 2 first, then 1 second, 2 first, 4 first, g second, h first.
            shown_first=Rate(5 / 7, 7),
        )
    }


def test_a_fall_is_an_alarm() -> None:
    earlier = [
        drift_measures({"llm": Rate(0.9, 10)}, {"ann": Rate(1.0, 5)}),
        drift_measures({"llm": Rate(0.7, 10)}, {}),
    ]
    found = detect_drift(
        earlier, drift_measures({"llm": Rate(0.6, 5)}, {"ann": Rate(0.95, 20)}), 0.1
    )
    gold, agreement = found
    # Before: (9 + 7) of 20.
    assert (agreement.source, agreement.before, agreement.n_before) == ("llm", 0.8, 20)
    assert agreement.fall == pytest.approx(0.2) and agreement.alarm
    assert agreement.sentence == (
        "llm: agreement with the others fell from 80.0% (n = 20) to 60.0% (n = 5): check its "
        "latest answers, or retract them"
    )
    assert (gold.source, gold.measure, gold.alarm, gold.sentence) == (
        "human:ann",
        "gold",
        False,
        None,
    )
    assert gold.fall == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("before", "now", "alarm"),
    [((1.0, 5), (0.8, 5), True), ((1.0, 4), (0.0, 5), False), ((1.0, 5), (0.0, 4), False)],
)
def test_a_few_pairs_are_no_alarm(before: Any, now: Any, alarm: bool) -> None:
    earlier = [drift_measures({"s": Rate(*before)}, {})]
    assert detect_drift(earlier, drift_measures({"s": Rate(*now)}, {}), 0.1)[0].alarm == alarm


def test_a_source_that_is_new_has_not_drifted() -> None:
    assert detect_drift([], drift_measures({"s": Rate(0.5, 9)}, {}), 0.1) == []
