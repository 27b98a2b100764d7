"""From answers to labels: which version counts, when a round is answered, what a row says."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from annotators import new_log, pairs

from labeling.people.answers import (
    AnswerCounts,
    SubmittedAnswer,
    asked_rows,
    count_answers,
    label_rows,
    latest_answers,
    read_answers,
)
from labeling.people.task import ItemBuilder

ANSWER = SubmittedAnswer(
    "id-1", "r1", "ann", "u1", "submitted", "A", 2, "short", "2026-11-24T10:00:00.5"
)


def later(answer: SubmittedAnswer, seconds: int, **changes: str | None) -> SubmittedAnswer:
    return replace(answer, at=f"2026-11-24T10:00:{seconds:02d}.5", **changes)  # type: ignore[arg-type]


def test_the_last_version_of_a_person_counts() -> None:
    edited = later(ANSWER, 5, choice="B")
    assert latest_answers([ANSWER, edited]) == [edited]
    assert latest_answers([edited, ANSWER]) == [edited]
    other = replace(ANSWER, label_id="id-2", annotator="bob", annotator_id="u2")
    assert latest_answers([ANSWER, other, edited]) == [edited, other]
    # The record was deleted, asked again, and answered again: another id, the same person.
    again = later(ANSWER, 9, label_id="id-3", choice="Tie")
    assert latest_answers([ANSWER, again]) == [again]


def test_drafts_do_not_count_and_take_back_what_they_follow() -> None:
    draft = later(ANSWER, 5, status="draft")
    assert latest_answers([draft]) == []
    assert latest_answers([ANSWER, draft]) == []
    assert latest_answers([ANSWER, draft, later(ANSWER, 6)]) == [later(ANSWER, 6)]


def test_tally() -> None:
    def answered(record: str, *people: str) -> list[SubmittedAnswer]:
        return [replace(ANSWER, record_id=record, annotator_id=person) for person in people]

    found = [*answered("r1", "u1", "u2"), *answered("r2", "u1"), *answered("r9", "u1")]
    records = ["r1", "r2", "r3", "r4"]
    # Two each: r1 is answered, r2 lacks one, r3 and r4 lack two.
    assert count_answers(records, found, 2, 1.0) == AnswerCounts(
        4, 1, wanted=4, needed=8, missing=5
    )
    # Half of them: r1 and the one answer that r2 lacks.
    assert count_answers(records, found, 2, 0.5) == AnswerCounts(
        4, 1, wanted=2, needed=4, missing=1
    )
    assert count_answers(records, found, 1, 0.5).reached
    assert not count_answers(records, found, 1, 0.51).reached
    # A third person's answer makes up for nothing.
    assert count_answers(records, [*found, *answered("r1", "u3")], 2, 1.0).missing == 5
    assert count_answers(records, found, 1, 0.1).wanted == 1
    assert count_answers([], [], 1, 1.0).reached


def test_rows_speak_of_the_pair_not_of_the_page() -> None:
    (pair,) = pairs(1)
    item = ItemBuilder(1, 7).item(pair, "the scores are close")
    first = item.hidden.shown_first
    answer = replace(ANSWER, record_id=item.record_id)
    discarded = replace(
        answer, annotator="bob", annotator_id="u2", status="discarded", label_id="x"
    )
    strange = replace(answer, record_id="somebody else's")
    row, empty = label_rows([item.hidden], [discarded, answer, strange])
    assert row == {
        "label_id": "id-1",
        "record_id": item.record_id,
        "pair_id": pair.pair_id,
        "kind": "pair",
        "annotator": "ann",
        "verdict": first,
        "expected": None,
        "strength": 2,
        "comment": "short",
        "shown_first": first,
        "mode": "blind",
        "why": "the scores are close",
        "at": datetime(2026, 11, 24, 10, 0, 0, 500_000, tzinfo=UTC),
    }
    assert (empty["annotator"], empty["verdict"]) == ("bob", None)
    (asked,) = asked_rows([item.hidden], [row, empty], left_out=True)
    assert (asked["answers"], asked["left_out"]) == (2, False)
    (unanswered,) = asked_rows([item.hidden], [], left_out=True)
    assert (unanswered["answers"], unanswered["left_out"]) == (0, True)


def test_an_answer_without_values_or_name() -> None:
    response = {
        "id": "i",
        "user_id": "u",
        "status": "discarded",
        "values": None,
        "updated_at": "2026-11-24T10:00:00",
    }
    (found,) = read_answers({"external_id": "r", "responses": [response]}, {})
    assert (found.annotator, found.choice, found.counts) == ("u", None, True)


def test_the_log_keeps_every_version_once(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    assert log.read().answers == {}
    edited = later(ANSWER, 5, choice="B")
    assert log.add([ANSWER, edited], {}) == 2
    assert log.add([ANSWER, edited], log.read().answers) == 0
    log.add([edited], {})  # by another process that did not know
    assert list(log.read().answers.values()) == [ANSWER, edited]


def test_the_log_keeps_drafts_only_where_they_take_back(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    draft = later(ANSWER, 5, status="draft")
    assert log.add([draft], log.read().answers) == 0
    log.add([ANSWER], {})
    assert log.add([draft], log.read().answers) == 1
    assert latest_answers(log.read().answers.values()) == []


def test_a_torn_line_costs_nothing_else(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    hidden = ItemBuilder(1, 7).item(pairs(1)[0], "").hidden
    log.log_opened("name", "questions", "queue")
    log.log_asked([hidden])
    log.log_planned([hidden.record_id], "plan")
    log.add([ANSWER], {})
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"event": "answer", "label_')
    assert log.read().answers == {ANSWER.version: ANSWER}
    log.log_pulled()
    found = log.read()
    assert (found.dataset, found.pulls, found.planned) == ("name", 1, [hidden.record_id])
    assert found.asked == {hidden.record_id: hidden}
    assert found.asked_at is not None


def test_what_a_record_was_asked_as_it_stays(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    hidden = ItemBuilder(1, 7).item(pairs(1)[0], "").hidden
    log.log_asked([hidden])
    log.log_asked([replace(hidden, mode="review")])
    assert log.read().asked[hidden.record_id].mode == "blind"


def test_a_round_may_have_nothing_to_ask(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.log_planned([], "plan")
    assert log.read().asked_at is not None
