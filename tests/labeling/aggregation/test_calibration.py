"""Judges whose confidence is wrong in a known way, and what people's answers teach about it."""

import math
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from labeling.aggregation.calibration import (
    CalibrationVerdict,
    JudgeReliability,
    Reliability,
    SharedJudgement,
    assess_reliability,
    calibration_error,
    fit_reliability,
    join_with_people,
    unreliable_pairs,
)
from labeling.aggregation.curves import ISOTONIC
from labeling.pairs.for_people import RANDOM


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def overconfident(n: int, seed: int = 1, temperature: float = 3.0) -> list[SharedJudgement]:
    """A judge whose logits are `temperature` times too large: it is right with σ(logit/3)."""
    chance = random.Random(seed)
    found = []
    for i in range(n):
        logit = chance.uniform(0.0, 6.0)
        judged = CalibrationVerdict(f"p{i}", "llm", "a", confidence=sigma(logit))
        found.append(SharedJudgement(judged, chance.random() < sigma(logit / temperature), False))
    return found


def only(fitted: dict[str, JudgeReliability]) -> JudgeReliability:
    (found,) = fitted.values()
    return found


@pytest.mark.parametrize(("n", "method"), [(400, "platt"), (4 * ISOTONIC, "isotonic")])
def test_a_planted_miscalibration_is_mended(n: int, method: str) -> None:
    found = only(fit_reliability(overconfident(n)))
    assert (found.method, found.signal, found.n) == (method, "confidence", n)
    assert found.error_before is not None and found.error_before > 0.1
    assert found.error_after < found.error_before / 2
    for logit in (1.0, 3.0, 5.0):
        said = CalibrationVerdict("new", "llm", "a", confidence=sigma(logit))
        assert found.probability(said) == pytest.approx(sigma(logit / 3), abs=0.08)


def test_platt_gives_the_temperature_back() -> None:
    found = only(fit_reliability(overconfident(900)))
    assert found.curve is not None
    assert found.curve.slope == pytest.approx(1 / 3, abs=0.1)
    assert found.curve.intercept == pytest.approx(0.0, abs=0.25)


def test_margins_stand_in_for_a_confidence() -> None:
    """A judge that scores: right with σ(2·margin)."""
    chance = random.Random(2)
    shared = [
        SharedJudgement(
            CalibrationVerdict(f"p{i}", "rm", "b", margin=m), chance.random() < sigma(2 * m), False
        )
        for i, m in enumerate(chance.uniform(0, 2) for _ in range(900))
    ]
    found = only(fit_reliability(shared))
    assert (found.method, found.signal, found.error_before) == ("platt", "margin", None)
    for margin in (0.2, 1.0, 1.8):
        said = CalibrationVerdict("new", "rm", "a", margin=margin)
        assert found.probability(said) == pytest.approx(sigma(2 * margin), abs=0.08)


def test_without_a_signal_there_is_one_reliability() -> None:
    shared = [
        SharedJudgement(CalibrationVerdict(f"p{i}", "rule", "a"), i % 4 > 0, False)
        for i in range(20)
    ]
    found = only(fit_reliability(shared))
    assert (found.method, found.signal, found.curve) == ("constant", None, None)
    assert found.probability(CalibrationVerdict("new", "rule", "b")) == pytest.approx(15.5 / 21)


def test_being_surer_and_less_often_right_is_no_signal() -> None:
    shared = [
        SharedJudgement(
            CalibrationVerdict(f"p{i}", "llm", "a", confidence=0.6 if i % 2 else 0.9),
            bool(i % 2),
            False,
        )
        for i in range(40)
    ]
    found = only(fit_reliability(shared))
    assert (found.method, found.signal) == ("constant", None)


def test_a_few_right_answers_make_nobody_certain() -> None:
    """Ten of ten right, however sure: (10 + ½)/11."""
    shared = [
        SharedJudgement(
            CalibrationVerdict(f"p{i}", "llm", "a", confidence=0.6 + i / 30), True, False
        )
        for i in range(10)
    ]
    found = only(fit_reliability(shared))
    for confidence in (0.6, 0.99):
        said = CalibrationVerdict("new", "llm", "a", confidence=confidence)
        assert found.probability(said) == pytest.approx(10.5 / 11)
    nine = [*shared[:9], SharedJudgement(shared[9].judged, False, False)]  # the surest was wrong
    assert only(fit_reliability(nine)).probability(shared[9].judged) == pytest.approx(9.5 / 11)
    assert fit_reliability(shared[:9]) == {}


def test_pairs_picked_at_random_count_alone_where_there_are_enough() -> None:
    """People were asked about hard pairs, where the judge errs, and about ten at random."""
    hard = [
        SharedJudgement(CalibrationVerdict(f"h{i}", "rule", "a"), False, False) for i in range(30)
    ]
    drawn = [
        SharedJudgement(CalibrationVerdict(f"r{i}", "rule", "a"), i > 0, True) for i in range(10)
    ]
    found = only(fit_reliability(hard + drawn))
    assert (found.sample, found.n, found.right) == ("random", 10, 9)
    few = only(fit_reliability(hard + drawn[1:]))
    assert (few.sample, few.n, few.right) == ("all", 39, 9)


def test_calibration_error_of_two_bins() -> None:
    """Three at 0.9 with two right: |2 − 2.7|; two at 0.55 with both right: |2 − 1.1|; of five."""
    predicted = [(0.9, True), (0.9, True), (0.9, False), (0.55, True), (0.55, True)]
    assert calibration_error(predicted) == pytest.approx((0.7 + 0.9) / 5)
    assert calibration_error([(1.0, True)]) == 0.0


def label(annotator: str, pair_id: str, verdict: str, why: str = "") -> dict[str, Any]:
    row = {"label_id": annotator + pair_id, "kind": "pair", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    return {**row, "annotator": annotator, "pair_id": pair_id, "verdict": verdict, "why": why}


def test_what_a_judge_and_people_share() -> None:
    judged = [
        CalibrationVerdict("1", "llm", "a"),
        CalibrationVerdict("2", "llm", "a"),
        CalibrationVerdict("3", "llm", None),
        CalibrationVerdict("4", "llm", "b"),
        CalibrationVerdict("1", "gone", "a"),
    ]
    labels = [
        label("ann", "1", "a", RANDOM),
        label("ann", "2", "a"),
        label("bob", "2", "b"),  # together a tie, so that the judge is not right
        label("ann", "3", "a"),
        label("eve", "4", "b"),
    ]
    assert join_with_people(judged, labels, ["gone", "human:eve"]) == [
        SharedJudgement(judged[0], True, True),
        SharedJudgement(judged[1], False, False),
    ]


def test_who_is_reliable_where() -> None:
    shared = [
        SharedJudgement(CalibrationVerdict(f"p{i}", "rule", "a"), i > 0, False) for i in range(20)
    ]
    fitted = fit_reliability(shared)  # (19 + ½)/21 = 0.93
    judged = [
        CalibrationVerdict("1", "rule", "a"),
        CalibrationVerdict("2", "rule", None),
        CalibrationVerdict("3", "rule", None),
        CalibrationVerdict("3", "new", "tie"),
    ]
    expected = pytest.approx(19.5 / 21)
    assert assess_reliability(fitted, judged, 0.9) == [
        Reliability("1", "rule", expected, True),
        Reliability("2", "rule", None, False),
        Reliability("3", "rule", None, False),
        Reliability("3", "new", None, True),  # nothing is known against it
    ]
    assert unreliable_pairs(assess_reliability(fitted, judged, 0.9)) == {"2"}
    assert unreliable_pairs(assess_reliability(fitted, judged, 0.95)) == {"1", "2"}
    assert unreliable_pairs([]) == set()
