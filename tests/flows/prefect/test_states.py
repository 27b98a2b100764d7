"""What a server of ours knows of a run when it is ended: all, however quick the last steps."""

import json
import logging
import os
import pkgutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from dpo_core.campaign.layout import Layout
from dpo_core.errors import ChildFailed
from dpo_core.server_keys import campaign_key_path, with_key
from flows.prefect.server import prefect_environment, start_server, write_logging_config

STEPS = 40
QUICK_STEPS = f"""
import sys
from types import SimpleNamespace
from dpo_core.errors import WaitingForPeople
from flows.config.schedule import RetriesConfig
from flows.prefect.tasks import run_flow, step
from flows.prefect.runs import flush, own_server

session = SimpleNamespace(
    config=SimpleNamespace(retries=RetriesConfig()), progress=SimpleNamespace(notice=print)
)

@step
def quick(do):
    return None

@step
def ask_people(do):
    raise WaitingForPeople("three answers are missing")

def steps():
    for _ in range({STEPS}):
        quick(session)
    ask_people(session)

with own_server(sys.argv[1]):
    try:
        run_flow(steps, name="quick", run_name="quick")
    except WaitingForPeople:
        pass
    finally:
        flush()
"""


def test_states_of_the_last_steps_are_written_before_the_server_ends(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "campaign")
    server, url, key = start_server(layout, campaign_key_path(layout))
    environment = os.environ | prefect_environment(layout) | with_key(os.environ, key)
    with server:
        command = [sys.executable, "-c", QUICK_STEPS, f"{url}/api"]
        subprocess.run(command, env=environment, check=True)

    with closing(sqlite3.connect(layout.prefect / "prefect.db")) as database:
        found = database.execute("select name, state_name from task_run").fetchall()
    assert sorted(found) == [("ask_people", "Waiting"), *[("quick", "Completed")] * STEPS]


def test_a_server_that_the_client_finds_gone_is_said_in_words() -> None:
    """It was killed while the run told it a state; the run watches it, but was not the first."""
    from flows.prefect.runs import server_needed  # Prefect, once its settings are made

    refused = "Connection refused"
    with pytest.raises(ChildFailed, match=f"does not answer: {refused}"), server_needed():
        raise httpx.ConnectError(refused)


def test_a_server_whose_disk_is_full_is_said_in_words() -> None:
    """Its database takes no state any more: it answers 500, and the run is to be resumed. What it
    refuses for another reason stays an error of ours."""
    from flows.prefect.runs import server_needed

    with pytest.raises(ChildFailed, match="does not answer: HTTP 500"), server_needed():
        raise _answered(500)
    with pytest.raises(httpx.HTTPStatusError), server_needed():
        raise _answered(404)


def test_a_log_without_room_keeps_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout(tmp_path / "campaign")
    write_logging_config(layout)
    config = json.loads((layout.prefect / "logging.yml").read_text())
    kind = pkgutil.resolve_name(config["handlers"]["file"]["class"])
    handler = kind("/dev/full")
    handler.handle(logging.makeLogRecord({"msg": "no room for this"}))
    with suppress(OSError):  # what it holds back finds no room either
        handler.close()
    assert capsys.readouterr().err == ""


def _answered(status: int) -> httpx.HTTPStatusError:
    from prefect.exceptions import PrefectHTTPStatusError

    request = httpx.Request("POST", "http://127.0.0.1:1/api/flow_runs/set_state")
    return PrefectHTTPStatusError.from_httpx_error(
        httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, json={}))
    )
