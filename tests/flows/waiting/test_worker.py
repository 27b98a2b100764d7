"""Under `ratchet worker` a campaign that needs people is Suspended, and no process is held."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inbox import Inbox
from waiting_runs import ASKED, Patient, Running, answer, rows, until

from flows.prefect.server import free_port
from tests.shared_argilla import SharedArgilla

TOLD = ("--set", "notify.webhook=PATIENT_HOOK")

Ended = tuple[Patient, "subprocess.CompletedProcess[str]"]


@contextmanager
def _worker(patient: Patient, port: int) -> Iterator[Running]:
    with patient.start("worker", "--dir", "worker", "--port", str(port)) as worker:
        worker.says("Ctrl-C stops")
        yield worker


def _state(patient: Patient) -> tuple[str, str, dict[str, object]]:
    """(type, name, details) of the campaign's run."""
    query = (
        "select s.type, s.name, s.state_details from flow_run r join flow_run_state s "
        "on r.state_id = s.id where r.name = 'patient'"
    )
    ((type, name, details),) = rows(_database(patient), query)
    return type, name, json.loads(details)


def _database(patient: Patient) -> Path:
    return patient.folder / "worker/prefect/prefect.db"


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """Where the campaigns tell of what happens, when they are asked for with TOLD."""
    with Inbox() as inbox:
        monkeypatch.setenv(TOLD[1].partition("=")[2], inbox.url)
        yield inbox


def test_a_suspended_campaign_holds_no_process_and_survives_restarts(
    waiting: Ended, argilla: SharedArgilla, inbox: Inbox, tmp_path: Path
) -> None:
    patient, port = waiting[0].copied(tmp_path / "copy", argilla.access), free_port()
    with _worker(patient, port) as worker:
        handed = patient.ratchet("submit", "--dir", "worker", *TOLD)
        assert handed.returncode == 0, handed.stderr
        worker.says("patient: suspended")
        processes = patient.processes()
        print("processes while it is suspended:", *processes.items(), sep="\n  ")
        assert len(processes) == 2
        assert any("flows.prefect.server" in line for line in processes.values())
        twice = patient.ratchet("submit", "--dir", "worker")
        assert twice.returncode == 2
        assert "already has a run: patient is Suspended" in twice.stderr
        worker.end(signal.SIGKILL)
        until(lambda: not patient.processes(), lambda: str(patient.processes()))
    type, name, details = _state(patient)
    print(f"stored: {type} {name}, pause_timeout {details['pause_timeout']}")
    assert (type, name) == ("PAUSED", "Suspended")
    assert details["pause_timeout"] is None  # it never expires
    assert details["pause_reschedule"] is True
    patient.days_pass(90)
    _goes_on(patient, port, argilla)
    waits, decides = inbox.came  # each is told once, however often its run goes on
    assert (waits["event"], waits["campaign"]) == ("waiting", "patient")
    assert f"{ASKED} answers" in waits["text"] and argilla.access.url in waits["text"]
    assert (decides["event"], decides["text"][:9]) == ("gate", "round 1: ")


def _goes_on(patient: Patient, port: int, argilla: SharedArgilla) -> None:
    """After a restart of worker and Prefect; and a worker that is killed goes on where it was."""
    with _worker(patient, port) as worker:
        time.sleep(3)  # three looks
        assert _state(patient)[1] == "Suspended"
        assert answer(argilla.access, patient.asked()) == ASKED
        print(f"resumed {worker.says('patient: resumes'):.1f} s after the last answer")
        until(lambda: "labels" in patient.steps(), worker.output)
        worker.end(signal.SIGKILL)
        until(lambda: not patient.processes(), lambda: str(patient.processes()))
    with _worker(patient, port) as worker:
        until(lambda: _state(patient)[1] == "Completed", worker.output)
        assert worker.end(signal.SIGTERM) == 0  # before the run's process has
        assert patient.processes() == {}
        assert "patient: completed" in worker.output()
    assert patient.steps()[-1] == "gate"
    assert _state(patient)[:2] == ("COMPLETED", "Completed")
    tasks = rows(_database(patient), "select distinct state_type from task_run")
    # CRASHED are those that ran when the worker was killed, if any did.
    assert set(tasks) - {("CRASHED",)} == {("COMPLETED",)}
    assert patient.labels_fact("seconds_waited") > 90 * 24 * 3600
    assert (patient.layout.root / "report.html").exists()


def test_under_a_worker_a_deadline_ends_the_waiting(
    waiting: Ended, argilla: SharedArgilla, inbox: Inbox, tmp_path: Path
) -> None:
    patient, port = waiting[0].copied(tmp_path / "copy", argilla.access), free_port()
    chosen = ("--set", "people.deadline_hours=24", "--set", "people.at_deadline=stop")
    with _worker(patient, port) as worker:
        assert patient.ratchet("submit", "--dir", "worker", *TOLD, *chosen).returncode == 0
        worker.says("patient: suspended")
        patient.days_pass(2)
        print(f"went on {worker.says('patient: resumes'):.1f} s after the deadline")
        worker.says("patient: failed")
        assert "the deadline has passed" in worker.output()
        assert worker.end(signal.SIGINT) == 0
    assert [came["event"] for came in inbox.came] == ["waiting", "failure"]
    assert "the deadline has passed" in inbox.came[1]["text"]


def test_submit_without_a_worker_says_what_to_start(waiting: Ended) -> None:
    refused = waiting[0].ratchet("submit", "--dir", "nobody")
    assert refused.returncode == 2
    assert "no worker runs in nobody" in refused.stderr
    assert "ratchet worker" in refused.stderr
