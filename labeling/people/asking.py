"""Ask people: push a round's records to the queue, and collect their answers into the log.

Both can be repeated at any time. A record is identified by its content and an answer by its id and
time, so nothing is sent or counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling.people.answers import (
    AnswerCounts,
    SubmittedAnswer,
    count_answers,
    latest_answers,
    people_per_record,
    read_answers,
)
from labeling.people.argilla_parts import Questions
from labeling.people.label_queue import CampaignQueue, Dataset, LabelQueue, Progress, QueueRecord
from labeling.people.log import LabelLog, RoundLog
from labeling.people.task import Item

_COMPLETED = "completed"


@dataclass(frozen=True)
class ServerRecords:
    """The server's state of the records asked.

    server_ids: record id → id on the server. completed: records with that status. begun: records
    with any response, including drafts. new: number of answer versions added to the log.
    """

    server_ids: Mapping[str, str]
    completed: frozenset[str]
    begun: frozenset[str]
    new: int


@dataclass(frozen=True)
class Task:
    """What a round asks of people. name: of its dataset. plan: hash of the items' inputs. queue:
    where people find it."""

    name: str
    questions: Questions
    guidelines: str
    items: Sequence[Item]
    quorum: float
    plan: str = ""
    queue: CampaignQueue | None = None

    @property
    def record_ids(self) -> list[str]:
        return [item.record_id for item in self.items]

    def tally(self, log: RoundLog) -> AnswerCounts:
        answers = latest_answers(log.answers.values())
        return count_answers(self.record_ids, answers, self.questions.min_submitted, self.quorum)


def ask(queue: LabelQueue, log: LabelLog, task: Task, progress: Progress) -> Dataset:
    """Synchronise the queue with `task`, and the log with the answers.

    Removes records that are no longer asked, unless somebody has begun them.
    """
    dataset = queue.dataset(task.name, task.questions, task.guidelines, task.queue)
    before = log.read().asked
    log.log_asked(item.hidden for item in task.items if item.record_id not in before)
    server = collect(queue, dataset, log, progress)
    known = log.read()
    open_ = _open_records(task, known)
    # Argilla keeps a record completed when its answers were deleted with their annotator's account
    # before they were read; it would not be shown to anybody again.
    stuck = open_ & server.completed
    stale = (set(known.asked) & set(server.server_ids)) - set(task.record_ids) - server.begun
    queue.remove(dataset, [server.server_ids[record] for record in sorted(stuck | stale)])
    missing = open_ - (set(server.server_ids) - stuck)
    if (known.planned, known.plan) != (task.record_ids, task.plan):
        log.log_planned(task.record_ids, task.plan)
    queue.push(dataset, [i for i in task.items if i.record_id in missing], progress)
    return dataset


def collect(
    queue: LabelQueue, dataset: Dataset, log: LabelLog, progress: Progress
) -> ServerRecords:
    """Add every answer of the dataset to the log."""
    known = log.read()
    names: dict[str, str] = {}
    server_ids: dict[str, str] = {}
    completed, begun, answers = set[str](), set[str](), list[SubmittedAnswer]()
    for record in queue.records(dataset, progress):
        identity = str(record["external_id"])
        if identity not in known.asked:  # not one of ours
            continue
        server_ids[identity] = record["id"]
        if record["status"] == _COMPLETED:
            completed.add(identity)
        if record["responses"]:
            begun.add(identity)
            _add_names(names, record, queue)
            answers += read_answers(record, names)
    new = log.add(answers, known.answers)
    return ServerRecords(server_ids, frozenset(completed), frozenset(begun), new)


def _add_names(names: dict[str, str], record: QueueRecord, queue: LabelQueue) -> None:
    """Add the names of those who answered `record`; a deleted account keeps its id as name."""
    users = {str(response["user_id"]) for response in record["responses"]}
    if not users <= names.keys():
        names.update({user: user for user in users})
        names.update(queue.names())


def _open_records(task: Task, log: RoundLog) -> set[str]:
    """Ids of records that need further answers."""
    people = people_per_record(latest_answers(log.answers.values()))
    return {r for r in task.record_ids if people[r] < task.questions.min_submitted}
