"""Asking people: the round's records onto the queue, their answers into the log.

Both can be repeated at any time. A record is known by its content, so what is there is not sent
again; an answer is known by its id and its time, so what was seen is not counted again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.people.answers import (
    AnswerCounts,
    SubmittedAnswer,
    count_answers,
    latest_answers,
    people_per_record,
    read_answers,
)
from labeling.people.argilla_parts import Questions
from labeling.people.argilla_queue import ArgillaQueue, Dataset, Progress
from labeling.people.log import LabelLog, RoundLog
from labeling.people.task import Item

_COMPLETED = "completed"


@dataclass(frozen=True)
class ServerRecords:
    """What the server holds of what was asked: record id → its id there.

    completed: those that it calls so. begun: those with any response, drafts among them. new: how
    many versions of answers the log did not have.
    """

    server_ids: Mapping[str, str]
    completed: frozenset[str]
    begun: frozenset[str]
    new: int


@dataclass(frozen=True)
class Task:
    """What a round asks of people. name: of its dataset. plan: hash of what decided the items."""

    name: str
    questions: Questions
    guidelines: str
    items: Sequence[Item]
    quorum: float
    plan: str = ""

    @property
    def record_ids(self) -> list[str]:
        return [item.record_id for item in self.items]

    def tally(self, log: RoundLog) -> AnswerCounts:
        answers = latest_answers(log.answers.values())
        return count_answers(self.record_ids, answers, self.questions.min_submitted, self.quorum)


def ask(queue: ArgillaQueue, log: LabelLog, task: Task, progress: Progress) -> Dataset:
    """Bring the queue in line with `task`, and the log with what is answered.

    What was asked before and is asked no more leaves the queue, unless somebody has begun it.
    """
    dataset = queue.dataset(task.name, task.questions, task.guidelines)
    before = log.read().asked
    log.log_asked(item.hidden for item in task.items if item.record_id not in before)
    standing = collect(queue, dataset, log, progress)
    known = log.read()
    open_ = _open(task, known)
    # Argilla calls a record complete also when the answers that made it so went with the account
    # of their annotator before anybody read them; it would be shown to nobody again.
    stuck = open_ & standing.completed
    stale = (set(known.asked) & set(standing.server_ids)) - set(task.record_ids) - standing.begun
    queue.remove(dataset, [standing.server_ids[record] for record in sorted(stuck | stale)])
    missing = open_ - (set(standing.server_ids) - stuck)
    if (known.planned, known.plan) != (task.record_ids, task.plan):
        log.log_planned(task.record_ids, task.plan)
    queue.push(dataset, [i for i in task.items if i.record_id in missing], progress)
    return dataset


def collect(
    queue: ArgillaQueue, dataset: Dataset, log: LabelLog, progress: Progress
) -> ServerRecords:
    """Every answer of the dataset into the log."""
    known = log.read()
    names: dict[str, str] = {}
    server_ids: dict[str, str] = {}
    completed, begun, found = set[str](), set[str](), list[SubmittedAnswer]()
    for record in queue.records(dataset, progress):
        identity = str(record["external_id"])
        if identity not in known.asked:  # somebody else's
            continue
        server_ids[identity] = record["id"]
        if record["status"] == _COMPLETED:
            completed.add(identity)
        if record["responses"]:
            begun.add(identity)
            _know(names, record, queue)
            found += read_answers(record, names)
    new = log.add(found, known.answers)
    return ServerRecords(server_ids, frozenset(completed), frozenset(begun), new)


def _know(names: dict[str, str], record: Mapping[str, Any], queue: ArgillaQueue) -> None:
    """Fill in who answered `record`; an account that is gone keeps its id as its name."""
    users = {str(response["user_id"]) for response in record["responses"]}
    if not users <= names.keys():
        names.update({user: user for user in users})
        names.update(queue.names())


def _open(task: Task, log: RoundLog) -> set[str]:
    """Records that need further answers."""
    people = people_per_record(latest_answers(log.answers.values()))
    return {r for r in task.record_ids if people[r] < task.questions.min_submitted}
