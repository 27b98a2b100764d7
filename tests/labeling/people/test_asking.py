"""Asking and collecting, with a queue in memory: nothing is sent or counted twice."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from memory_queue import MemoryQueue

from labeling.people.argilla_parts import Questions
from labeling.people.asking import Task, ask, collect
from labeling.people.label_queue import LabelQueue
from labeling.people.log import LabelLog
from labeling.people.task import Item, RecordContent, RecordMetadata

AT = "2026-01-01T00:00:0{}+00:00"


def item(record_id: str) -> Item:
    hidden = RecordMetadata(record_id, f"pair {record_id}", "pair", "a", None, "blind", "random")
    return Item(hidden, RecordContent((("user", "?"),), "one", "two"))


def task(*record_ids: str) -> Task:
    questions = Questions(min_submitted=1, strength=False, comment=False)
    return Task("round 1", questions, "Choose.", [item(r) for r in record_ids], quorum=1.0)


def quiet(*_: object) -> None:
    """No progress is shown."""


@pytest.fixture
def log(tmp_path: Path) -> LabelLog:
    return LabelLog(tmp_path / "labels.jsonl")


def test_records_are_sent_once_and_answers_counted_once(log: LabelLog) -> None:
    queue = MemoryQueue()
    dataset = ask(queue, log, task("x", "y", "z"), quiet)
    ask(queue, log, task("x", "y", "z"), quiet)
    assert queue.pushed == ["x", "y", "z"]
    queue.answer("round 1", "x", "1", "A", AT.format(1))
    found = collect(queue, dataset, log, quiet)
    assert (found.new, found.completed, found.begun) == (1, {"x"}, {"x"})
    assert collect(queue, dataset, log, quiet).new == 0
    [answer] = log.read().answers.values()
    assert (answer.annotator, answer.record_id, answer.choice) == ("ann", "x", "A")
    assert task("x", "y", "z").tally(log.read()).missing == 2


def test_what_is_asked_no_longer_is_removed_unless_somebody_began_it(log: LabelLog) -> None:
    queue: LabelQueue = (memory := MemoryQueue())
    ask(queue, log, task("x", "y", "z"), quiet)
    memory.answer("round 1", "y", "2", "B", AT.format(2))
    dataset = ask(queue, log, task("x"), quiet)
    assert {record["external_id"] for record in queue.records(dataset, quiet)} == {"x", "y"}
    assert queue.progress(dataset).completed == 1


def test_a_record_whose_answers_are_gone_is_asked_again(log: LabelLog) -> None:
    """Argilla keeps it completed when an annotator's account goes with its answers."""
    queue = MemoryQueue()
    ask(queue, log, task("x"), quiet)
    queue.answer("round 1", "x", "1", "A", AT.format(1))
    record = queue.pages["round 1"]["server x"]
    record["responses"] = []
    ask(queue, log, task("x"), quiet)
    assert queue.pushed == ["x", "x"]
    assert queue.pages["round 1"]["server x"]["status"] == "pending"
