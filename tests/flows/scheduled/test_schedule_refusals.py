"""A schedule that cannot be: one error, and nothing is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[3] / "configs" / "demo-cpu.yaml"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cron", "every monday"), "'every monday' is no cron line"),
        (("--cron", "0 2 * * 1", "--timezone", "Mars/Olympus"), "'Mars/Olympus' is no timezone"),
        (("--cron", "0 2 30 2 *"), "'0 2 30 2 *' names a time that never comes"),
    ],
)
def test_nothing_is_written(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    command = (sys.executable, "-m", "flows.cli", "schedule", str(CONFIG), *options)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    message, *remedy = done.stderr.splitlines()
    assert message == f"ratchet: {said}" and len(remedy) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("schedule", "--list"), ("worker",), ("submit", str(CONFIG))])
def test_a_prefect_server_that_does_not_answer(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "flows.cli", *command),
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},  # nobody listens there
        capture_output=True,
        text=True,
        timeout=120,
    )
    message, remedy = done.stderr.splitlines()
    assert done.returncode == 2
    assert message.startswith(
        "ratchet: the Prefect server at http://127.0.0.1:9/api does not answer"
    )
    assert remedy.startswith("  Start it, or unset PREFECT_API_URL")
