"""At the command line: exit code 75 and a sentence, or --wait, which stays."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from waiting_runs import ASKED, TIMEOUT_S, Patient, answer, rows

from dpo_core.campaign.lock import holder
from flows.config import load_config
from flows.people import can_resume
from labeling.server.credentials import write_credentials

sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "people"))
from faulty_proxy import proxied

from tests.shared_argilla import SharedArgilla

Ended = tuple[Patient, "subprocess.CompletedProcess[str]"]


def test_run_ends_with_75_and_one_sentence_and_holds_nothing(
    waiting: Ended, argilla: SharedArgilla
) -> None:
    patient, ended = waiting
    print(ended.stdout, f"exit code {ended.returncode}, left: {patient.processes()}", sep="\n")
    assert ended.returncode == 75, ended.stdout + ended.stderr
    assert ended.stderr == ""
    sentence = ended.stdout.splitlines()[-1]
    assert sentence.startswith(f"round 1 waits for labels: 0 of {ASKED} answers received")
    assert f"label at {argilla.credentials.url}/campaign/patient-" in sentence
    again = shlex.join(["ratchet", *patient.command("run")[3:]])
    assert sentence.endswith(f"; then type: {again}")
    assert patient.processes() == {}
    assert holder(patient.layout.lock) is None


def test_prefect_shows_waiting_and_nothing_failed(waiting: Ended) -> None:
    patient, ended = waiting
    database = patient.layout.prefect / "prefect.db"
    query = (
        "select r.name, s.type, s.name, s.message from {0} r join {0}_state s on r.state_id = s.id"
    )
    found = [
        row for table in ("flow_run", "task_run") for row in rows(database, query.format(table))
    ]
    assert {type for _, type, _, _ in found} == {"COMPLETED"}
    waits = {name: message for name, _, state, message in found if state == "Waiting"}
    assert {"patient", "patient round 1", "ask_people"} <= set(waits)
    assert all(
        ended.stdout.splitlines()[-1].startswith(waits[name]) for name in waits if waits[name]
    )


def test_status_says_waiting_for_people(waiting: Ended) -> None:
    patient, _ = waiting
    shown = patient.ratchet("status", "campaign").stdout.splitlines()[0]
    told = json.loads(patient.ratchet("status", "campaign", "--json").stdout)
    print(shown)
    assert shown.startswith("patient: waiting for people, 0 of 1 rounds done, round 1 waits for")
    assert told["state"] == "waiting"
    assert f"0 of {ASKED} answers received" in told["doing"]


@contextmanager
def served(folder: Path, argilla: SharedArgilla) -> Iterator[None]:
    """Argilla at another address, which nobody answers at afterwards; `folder` tells it."""
    with proxied(argilla.access.url, lambda method, path: None) as proxy:
        write_credentials(folder, replace(argilla.credentials, url=proxy.url))
        yield


def test_wait_survives_restarts_and_goes_on_by_itself(
    waiting: Ended, argilla: SharedArgilla, tmp_path: Path
) -> None:
    """Ctrl-C, SIGKILL, Argilla away and back elsewhere; then the quorum."""
    folder = tmp_path / "argilla"
    patient = waiting[0].copied(tmp_path / "copy", None, folder)
    folder.mkdir()
    with served(folder, argilla):
        _stopped_twice(patient)
        stayed = patient.start("run", "--wait")
        stayed.says("Ctrl-C stops")
    with stayed:
        print("processes while it waits:", patient.processes())
        assert list(patient.processes()) == [stayed.process.pid]
        refused = patient.ratchet("run")
        assert refused.returncode == 2
        assert f"is being run by process {stayed.process.pid}" in refused.stderr
        assert not can_resume(patient.layout, load_config(patient.layout.config, []))
        with served(folder, argilla):
            assert answer(argilla.access, patient.asked()) == ASKED
            print(f"went on {stayed.says('resuming'):.1f} s after the last answer")
        assert stayed.process.wait(TIMEOUT_S) == 0, stayed.output()
    assert patient.labels_fact("ended_by") == "quorum"
    assert patient.labels_fact("answers_missing") == 0
    assert patient.steps()[-1] == "gate"
    states = rows(patient.layout.prefect / "prefect.db", "select name, state_name from flow_run")
    assert [state for name, state in states if name == "patient"][-2:] == ["Waiting", "Completed"]
    assert not {"Failed", "Crashed"} & {state for _, state in states}


def _stopped_twice(patient: Patient) -> None:
    """By Ctrl-C and by SIGKILL."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        with patient.start("run", "--wait", "--no-prefect") as run:
            run.says("Ctrl-C stops")
            assert run.end(number) == code
        assert patient.processes() == {}
        assert ("Continue with: ratchet run" in run.output()) == (code == 130)


def test_run_again_goes_on_after_a_month(
    waiting: Ended, argilla: SharedArgilla, tmp_path: Path
) -> None:
    patient = waiting[0].copied(tmp_path / "copy", argilla.access)
    assert patient.ratchet("run", "--no-prefect").returncode == 75
    patient.days_pass(30)
    again = patient.ratchet("run", "--no-prefect")
    assert again.returncode == 75, again.stderr
    assert f"0 of {ASKED} answers received" in again.stdout
    assert answer(argilla.access, patient.asked()) == ASKED
    with patient.start("run", "--no-prefect") as run:
        run.says("round 1/1  labels")
    assert patient.labels_fact("seconds_waited") > 30 * 24 * 3600
    assert not patient.layout.waiting.exists()


@pytest.mark.parametrize("fallback", ["use", "judge", "stop"])
def test_a_deadline_ends_the_waiting(
    waiting: Ended, argilla: SharedArgilla, tmp_path: Path, fallback: str
) -> None:
    """Two days pass; the deadline was after one."""
    patient = waiting[0].copied(tmp_path / "copy", argilla.access)
    chosen = ("--set", "people.deadline_hours=24", "--set", f"people.at_deadline={fallback}")
    with patient.start("run", "--wait", "--no-prefect", *chosen) as run:
        run.says("Ctrl-C stops")
        patient.days_pass(2)
        print(f"{fallback}: went on after {run.says('resuming'):.1f} s")
        if fallback == "stop":
            assert run.process.wait(TIMEOUT_S) == 2
            assert "the deadline has passed" in run.output()
        else:
            run.says("round 1/1  labels")
            assert patient.labels_fact("ended_by") == f"deadline, {fallback}"


def test_without_a_deadline_it_keeps_waiting(
    waiting: Ended, argilla: SharedArgilla, tmp_path: Path
) -> None:
    patient = waiting[0].copied(tmp_path / "copy", argilla.access)
    with patient.start("run", "--wait", "--no-prefect") as run:
        run.says("Ctrl-C stops")
        patient.days_pass(365)
        time.sleep(3)  # three looks
        assert run.process.poll() is None
        assert "resuming" not in run.output()
        answer(argilla.access, patient.asked())
        run.says("round 1/1  labels")
        assert patient.labels_fact("ended_by") == "quorum"
