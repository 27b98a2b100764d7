"""Two annotators on a bad day: no label is lost and none is counted twice.

Conflicting, late and edited answers, drafts and discards, a deleted record, an annotator whose
account is removed half-way, and a server that is killed and started again, all of it through a
proxy that harms one request in a few. What everybody said is written down by the test itself as it
happens, and compared with what comes out in the end.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from annotators import Annotator, call, items_of, new_log, new_task, pairs, silent
from faulty_proxy import every, proxied

from labeling.people import argilla_queue
from labeling.people.answers import label_rows, latest_answers
from labeling.people.argilla_http import Patience
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import Task, ask
from labeling.people.log import LabelLog
from labeling.people.task import CHOICES, verdict_from_choice
from labeling.server import WORKSPACE, Access, Server, start
from tests.shared_argilla import SharedArgilla

PATIENCE = Patience(timeout_s=4.0, waits_s=(0.05,) * 12)
RESTART = Patience(timeout_s=4.0, waits_s=(0.25,) * 240)

Said = dict[tuple[str, str], tuple[str, str | None]]
"""(record, annotator) → (status, choice): the last thing that somebody said about a record."""


class Workplace:
    """A round, the people who label it, and what the test knows that they said."""

    def __init__(self, access: Access, folder: Path, task: Task) -> None:
        self.access = access
        self.log: LabelLog = new_log(folder)
        self.task = task
        self.said: Said = {}
        self.collected = 0

    def ask(self, url: str, patience: Patience = PATIENCE) -> None:
        """What `ratchet run` does, each time it looks."""
        access = Access(url, self.access.api_key)
        with ArgillaQueue(access, WORKSPACE, patience) as queue:
            self.dataset = ask(queue, self.log, self.task, silent)
        self.collected += 1

    def answers(self, who: Annotator, count: int, turn: int) -> list[dict[str, Any]]:
        """`who` answers the next records of their page; every seventh is discarded."""
        given = []
        for i, record in enumerate(who.queue(self.dataset)[:count]):
            choice, status = CHOICES[(i + turn) % len(CHOICES)], "submitted"
            if i % 7 == 6:
                status = "discarded"
            given.append({**who.answer(record, choice, status), "record": record})
            self.said[record["external_id"], who.name] = (status, choice)
        return given

    def edit(self, who: Annotator, answer: dict[str, Any], choice: str) -> None:
        who.edit(answer, choice)
        self.said[answer["record"]["external_id"], who.name] = ("submitted", choice)

    def expected(self) -> Counter[tuple[str, str, str | None]]:
        """(record, annotator, verdict) of each label there must be, once."""
        first = {item.record_id: item.hidden.shown_first for item in self.task.items}
        return Counter(
            (
                record,
                who,
                verdict_from_choice(choice, first[record]) if status == "submitted" else None,
            )
            for (record, who), (status, choice) in self.said.items()
        )

    def labels(self) -> Counter[tuple[str, str, str | None]]:
        asked = [item.hidden for item in self.task.items]
        rows = label_rows(asked, latest_answers(self.log.read().answers.values()))
        return Counter((row["record_id"], row["annotator"], row["verdict"]) for row in rows)

    def records(self) -> list[dict[str, Any]]:
        """What the server holds."""
        path = f"datasets/{self.dataset.id}/records?limit=500&include=responses"
        items: list[dict[str, Any]] = self.owner("GET", path)["items"]
        return items

    def shown(self) -> list[str]:
        return [record["external_id"] for record in self.records()]

    def owner(self, method: str, path: str) -> Any:
        return call(self.access, self.access.api_key, method, path)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """One that a test may kill."""
    server = start(tmp_path / "argilla")
    try:
        yield server
    finally:
        server.stop()


def test_no_label_is_lost_and_none_counted_twice(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argilla_queue, "_BATCH", 10)
    monkeypatch.setattr(argilla_queue, "PAGE", 15)
    access = own_server.access
    task = new_task(items_of(pairs(18), repeats=3), min_submitted=2)
    work = Workplace(access, tmp_path, task)
    ann, bob, cyd = (Annotator.new(access, name) for name in ("ann", "bob", "cyd"))
    with proxied(access.url, every(5)) as proxy:
        work.ask(proxy.url)
        by_ann, by_bob = conflicting_answers(work, ann, bob)
        work.ask(proxy.url)
        assert work.labels() == work.expected()

        edits_and_a_draft(work, ann, by_ann)
        work.ask(proxy.url)
        assert work.labels() == work.expected()

        untouched = ann.queue(work.dataset)[-1]
        removals(work, bob, [by_bob[0]["record"], untouched])
        work.ask(proxy.url)
        assert work.labels() == work.expected()

        work.answers(cyd, 7, turn=2)
        with restarted(own_server) as again:
            work.ask(proxy.url, RESTART)
        with again[0]:
            late_answers(work, ann, cyd)
            work.ask(proxy.url)
            shown = work.shown()
    assert untouched["external_id"] in shown  # it was asked again
    assert by_bob[0]["record"]["external_id"] not in shown  # it was answered already
    _report(work, proxy.harmed, proxy.passed)
    assert work.labels() == work.expected()
    assert task.tally(work.log.read()).reached


def conflicting_answers(
    work: Workplace, ann: Annotator, bob: Annotator
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """They say different things about the same records; a draft of hers is no answer."""
    by_ann = work.answers(ann, 15, turn=0)
    by_bob = work.answers(bob, 9, turn=1)
    ann.answer(ann.queue(work.dataset)[0], "A", status="draft")
    choices = {record: choice for (record, who), (_, choice) in work.said.items() if who == "ann"}
    both = [
        (choices[r], c) for (r, who), (_, c) in work.said.items() if who == "bob" and r in choices
    ]
    assert sum(one != other for one, other in both) > 2
    return by_ann, by_bob


def late_answers(work: Workplace, ann: Annotator, cyd: Annotator) -> None:
    """The rest, and what had been drafts."""
    assert work.answers(ann, 50, turn=3) + work.answers(cyd, 50, turn=0)
    drafts = ann.queue(work.dataset, "draft")
    assert len(drafts) == 2
    for record in drafts:
        work.edit(ann, {**record["responses"][0], "record": record}, "Both bad")


def edits_and_a_draft(work: Workplace, ann: Annotator, answers: list[dict[str, Any]]) -> None:
    """After they were collected: three are edited, and one is taken back to a draft."""
    for answer in answers[:3]:
        work.edit(ann, answer, "Tie")
    ann.edit(answers[3], "A", status="draft")
    del work.said[answers[3]["record"]["external_id"], "ann"]


def removals(work: Workplace, bob: Annotator, records: list[dict[str, Any]]) -> None:
    """Records are deleted, and bob's account is, with all his answers on the server."""
    for record in records:
        work.owner("DELETE", f"records/{record['id']}")
    work.owner("DELETE", f"users/{bob.id}")
    left = work.records()
    assert bob.id not in {r["user_id"] for record in left for r in record["responses"]}


def test_an_account_that_goes_unseen_does_not_block_the_round(
    argilla: SharedArgilla, tmp_path: Path
) -> None:
    """Its answers go with it, before anybody read them; Argilla calls the records complete."""
    task = new_task(items_of(pairs(3)))
    work = Workplace(argilla.access, tmp_path, task)
    work.ask(argilla.access.url)
    gone = Annotator.new(argilla.access, f"gone-{task.name}")
    for record in gone.queue(work.dataset):
        gone.answer(record, "A")
    work.owner("DELETE", f"users/{gone.id}")
    left = work.records()
    assert {(r["status"], len(r["responses"])) for r in left} == {("completed", 0)}
    work.ask(argilla.access.url)
    heir = Annotator.new(argilla.access, f"heir-{task.name}")
    assert len(work.answers(heir, 5, turn=0)) == 3
    work.ask(argilla.access.url)
    assert work.labels() == work.expected()
    assert task.tally(work.log.read()).reached


def test_a_deleted_dataset_loses_nothing(
    argilla: SharedArgilla, ann: Annotator, bob: Annotator, tmp_path: Path
) -> None:
    task = new_task(items_of(pairs(4)), min_submitted=2)
    work = Workplace(argilla.access, tmp_path, task)
    work.ask(argilla.access.url)
    work.answers(ann, 4, turn=0)
    work.answers(bob, 2, turn=1)
    work.ask(argilla.access.url)
    before = work.dataset
    work.owner("DELETE", f"datasets/{before.id}")
    work.ask(argilla.access.url)
    assert work.dataset.id != before.id
    assert len(work.records()) == 2  # what has two answers is done
    # Somebody answers again what they had answered before: that is an edit.
    work.answers(ann, 1, turn=3)
    work.answers(bob, 2, turn=2)
    work.ask(argilla.access.url)
    assert work.labels() == work.expected()
    assert sum(work.labels().values()) == 8
    assert task.tally(work.log.read()).reached


def test_a_push_whose_answer_is_lost_pushes_once(
    argilla: SharedArgilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argilla_queue, "_BATCH", 5)
    lost = iter(["500 after", "cut after", "late", "500 after", "cut after"] * 2)
    tried = Counter[str]()

    def harm(method: str, path: str) -> str | None:
        """Every request that makes something is done at first and its answer lost."""
        tried[method + path] += 1
        first = method in ("POST", "PUT") and tried[method + path] == 1
        return next(lost, None) if first else None

    task = new_task(items_of(pairs(12)))
    work = Workplace(argilla.access, tmp_path, task)
    with proxied(argilla.access.url, harm) as proxy:
        work.ask(proxy.url)
    # The dataset, its three kinds of parts, its publication and its records: one answer each.
    assert sum(count for harm, count in proxy.harmed.items() if harm != "none") == 6
    assert sorted(work.shown()) == sorted(task.record_ids)


@contextmanager
def restarted(server: Server) -> Iterator[list[Server]]:
    """The server is killed, and started on the same port while the body goes on."""
    server.kill()
    found: list[Server] = []
    thread = threading.Thread(target=lambda: found.append(start(server.folder, server.port)))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


def _report(work: Workplace, harmed: Counter[str], passed: int) -> None:
    versions = work.log.read().answers
    found, expected = work.labels(), work.expected()
    print(
        f"\nrecords {len(work.task.items)}, each for 2 people; looked at {work.collected} times",
        f"requests {harmed.total()}, passed on {passed}, harmed: "
        + ", ".join(f"{count} {harm}" for harm, count in sorted(harmed.items()) if harm != "none"),
        f"answers given {expected.total()}, versions seen {len(versions)}",
        f"labels {found.total()}, lost {(expected - found).total()}, "
        f"counted twice {sum(count - 1 for count in found.values())}",
        sep="\n",
    )
