"""A schedule that cannot be: one error, and nothing is left behind."""

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
    ],
)
def test_nothing_is_written(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    command = (sys.executable, "-m", "flows.cli", "schedule", str(CONFIG), *options)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    message, *remedy = done.stderr.splitlines()
    assert message == f"ratchet: {said}" and len(remedy) == 1
    assert not list(tmp_path.iterdir())
