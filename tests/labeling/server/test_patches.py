"""What is changed of argilla-server, seen from outside: jobs without Redis, logs without values."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from dpo_core.errors import LabelServerFailed
from labeling.server import WORKSPACE
from labeling.server.users import call
from tests.shared_argilla import SharedArgilla
from tests.until import until

if TYPE_CHECKING:
    import argilla as rg


@pytest.fixture(scope="module")
def client(argilla: SharedArgilla) -> Iterator["rg.Argilla"]:
    import argilla as rg

    opened = rg.Argilla(api_url=argilla.access.url, api_key=argilla.access.api_key)
    yield opened
    opened.http_client.close()


@pytest.fixture
def dataset(client: "rg.Argilla") -> Iterator["rg.Dataset"]:
    import argilla as rg

    settings = rg.Settings(
        fields=[rg.TextField(name="text")],
        questions=[rg.LabelQuestion(name="better", labels=["A", "B"])],
        distribution=rg.TaskDistribution(min_submitted=2),
    )
    name = f"jobs-{uuid4().hex[:8]}"
    made = rg.Dataset(name=name, workspace=WORKSPACE, settings=settings, client=client)
    made.create()
    yield made
    made.delete()


def test_fewer_answers_needed_completes_records_in_the_background(
    argilla: SharedArgilla, client: "rg.Argilla", dataset: "rg.Dataset"
) -> None:
    import argilla as rg

    answer = rg.Response("better", "A", client.me.id, status="submitted")
    answered = rg.Record(id="answered", fields={"text": "one"}, responses=[answer])
    dataset.records.log([answered, rg.Record(id="not", fields={"text": "two"})])
    assert dataset.progress() == {"total": 2, "completed": 0, "pending": 2}
    distribution = {"strategy": "overlap", "min_submitted": 1}
    call(argilla.access, "PATCH", f"datasets/{dataset.id}", {"distribution": distribution})
    until(lambda: dataset.progress() == {"total": 2, "completed": 1, "pending": 1})
    until(lambda: jobs_of(argilla, str(dataset.id)) == [])


def jobs_of(argilla: SharedArgilla, dataset: str) -> list[Path]:
    """What is left to do for the dataset: other tests, which use the server too, have theirs."""
    found = []
    for path in (argilla.folder / "jobs").glob("*.json"):
        with suppress(FileNotFoundError):  # it has been done
            found += [path] if dataset in path.read_text(encoding="utf-8") else []
    return found


def test_a_webhook_hears_of_new_records(argilla: SharedArgilla, dataset: "rg.Dataset") -> None:
    import argilla as rg

    heard: list[dict[str, Any]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if event["data"]["dataset"]["id"] == str(dataset.id):  # not another test's
                heard.append(event)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        hook = {"url": f"http://127.0.0.1:{ear.server_port}/", "events": ["record.created"]}
        made = call(argilla.access, "POST", "webhooks", hook)
        dataset.records.log([rg.Record(id=f"r{n}", fields={"text": "heard"}) for n in range(3)])
        until(lambda: len(heard) == 3)
        call(argilla.access, "DELETE", f"webhooks/{made['id']}")
        ear.shutdown()
    assert {event["type"] for event in heard} == {"record.created"}
    assert {event["data"]["external_id"] for event in heard} == {"r0", "r1", "r2"}


def test_an_unknown_job_is_not_found(argilla: SharedArgilla) -> None:
    with pytest.raises(LabelServerFailed, match="answered 404"):
        call(argilla.access, "GET", f"jobs/{uuid4()}")


def test_a_failed_statement_is_logged_without_its_values(argilla: SharedArgilla) -> None:
    """Users of one name made at the same moment: all are found new, one is stored."""

    def make(name: str) -> str:
        user = {"username": name, "first_name": name, "password": "x" * 12}
        try:
            return str(call(argilla.access, "POST", "users", user)["username"])
        except LabelServerFailed as error:
            return error.message

    for attempt in range(20):  # the moment must be the same one, which is a matter of luck
        name = f"twice-{attempt}"
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(make, [name] * 8))
        assert said.count(name) == 1
        if any("answered 500" in answer for answer in said):
            break
    else:
        pytest.fail("no two users of one name were ever made at the same moment")
    log = (argilla.folder / "server.log").read_text()
    assert "UNIQUE constraint failed: users.username" in log
    assert "hidden due to hide_parameters" in log and "$2b$" not in log  # how hashes begin
