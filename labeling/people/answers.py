"""Turn Argilla's records into labels: pure functions.

An answer is one person's reply to one record. It can be edited; every version seen is kept and the
latest counts. A discarded record is an answer without a verdict: it counts towards the quorum,
since otherwise a pair that nobody can judge would be waited for forever. A draft is no answer.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dpo_core.records import LabelRow
from labeling.people.label_queue import AnswerValue, QueueRecord
from labeling.people.task import RecordMetadata, verdict_from_choice

SUBMITTED, DISCARDED, DRAFT = "submitted", "discarded", "draft"


@dataclass(frozen=True)
class SubmittedAnswer:
    """One version of one person's answer, as seen in Argilla.

    label_id: id of the answer, shared by its versions. at: time of this version.
    """

    label_id: str
    record_id: str
    annotator: str
    annotator_id: str
    status: str
    choice: str | None
    strength: int | None
    comment: str | None
    at: str

    @property
    def version(self) -> tuple[str, str]:
        return (self.label_id, self.at)

    @property
    def counts(self) -> bool:
        return self.status in (SUBMITTED, DISCARDED)


@dataclass(frozen=True)
class AnswerCounts:
    """Progress of a round's records.

    records, answered, wanted: numbers of records. needed, missing: numbers of answers.
    """

    records: int
    answered: int
    wanted: int
    needed: int
    missing: int

    @property
    def reached(self) -> bool:
        return self.missing == 0


def read_answers(record: QueueRecord, names: Mapping[str, str]) -> Iterator[SubmittedAnswer]:
    """The answers to a record, including drafts; names: user id → name."""
    for response in record["responses"]:
        values = response["values"] or {}
        user = str(response["user_id"])
        yield SubmittedAnswer(
            label_id=str(response["id"]),
            record_id=str(record["external_id"]),
            annotator=names.get(user, user),
            annotator_id=user,
            status=str(response["status"]),
            choice=_value(values, "preference"),
            strength=_value(values, "strength"),
            comment=_value(values, "comment"),
            at=str(response["updated_at"]),
        )


def latest_answers(answers: Iterable[SubmittedAnswer]) -> list[SubmittedAnswer]:
    """The last version of each person's answer to each record, without withdrawn answers.

    If a record was deleted and asked again, a person's second answer replaces the first.
    """
    last: dict[tuple[str, str], SubmittedAnswer] = {}
    for answer in answers:
        key = (answer.record_id, answer.annotator_id)
        if key not in last or _moment(answer) >= _moment(last[key]):
            last[key] = answer
    return [answer for answer in last.values() if answer.counts]


def count_answers(
    records: Sequence[str], answers: Sequence[SubmittedAnswer], min_submitted: int, quorum: float
) -> AnswerCounts:
    """Count how far `records` are answered by `min_submitted` people each.

    Args:
        records: ids of the records.
        answers: latest answers.
        quorum: share of the records that must be answered.

    Returns:
        The counts; `missing` is the fewest further answers that reach the quorum.
    """
    people = people_per_record(answers)
    open_ = sorted(max(0, min_submitted - people[record]) for record in records)
    wanted = math.ceil(quorum * len(records) - 1e-9)
    return AnswerCounts(
        records=len(records),
        answered=open_.count(0),
        wanted=wanted,
        needed=wanted * min_submitted,
        missing=sum(open_[:wanted]),
    )


def people_per_record(answers: Iterable[SubmittedAnswer]) -> Counter[str]:
    """record id → number of people who answered; answers: latest answers."""
    return Counter(answer.record_id for answer in answers)


def label_rows(
    asked: Iterable[RecordMetadata], answers: Iterable[SubmittedAnswer]
) -> Iterator[LabelRow]:
    """Rows of LABELS: the latest answers to the records asked, in a deterministic order."""
    by_id = {record.record_id: record for record in asked}
    rows = (_row(by_id[a.record_id], a) for a in answers if a.record_id in by_id)
    yield from sorted(rows, key=lambda r: (r["pair_id"], r["record_id"], r["annotator"]))


def asked_rows(
    asked: Iterable[RecordMetadata], labels: Sequence[LabelRow], *, left_out: bool
) -> Iterator[dict[str, object]]:
    """Rows of ASKED; left_out: whether unanswered pairs get no preference at all."""
    answers = Counter(row["record_id"] for row in labels)
    for record in asked:
        lost = left_out and not answers[record.record_id] and record.kind == "pair"
        yield {**asdict(record), "answers": answers[record.record_id], "left_out": lost}


def _row(record: RecordMetadata, answer: SubmittedAnswer) -> LabelRow:
    submitted = answer.status == SUBMITTED
    return {
        "label_id": answer.label_id,
        "record_id": answer.record_id,
        "pair_id": record.pair_id,
        "kind": record.kind,
        "annotator": answer.annotator,
        "verdict": verdict_from_choice(answer.choice, record.shown_first) if submitted else None,
        "expected": record.expected,
        "strength": answer.strength,
        "comment": answer.comment,
        "shown_first": record.shown_first,
        "mode": record.mode,
        "why": record.why,
        "at": _to_millisecond(_moment(answer)),  # the file's resolution
    }


def _moment(answer: SubmittedAnswer) -> datetime:
    at = datetime.fromisoformat(answer.at)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _to_millisecond(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _value(values: Mapping[str, AnswerValue], question: str) -> Any:
    return values[question].get("value") if values.get(question) else None
