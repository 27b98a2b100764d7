"""What a server of ours knows of a run when it is ended: all, however quick the last steps."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from dpo_core.campaign.layout import Layout
from dpo_core.errors import ChildFailed
from flows.prefect.credentials import of_campaign, with_key
from flows.prefect.server import prefect_environment, start_server

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
    server, url, key = start_server(layout, of_campaign(layout))
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
