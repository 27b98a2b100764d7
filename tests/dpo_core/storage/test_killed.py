"""A machine lost after any object that it wrote: another one goes on from what is in the bucket."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")


def _lines(folder: Path, every: int) -> list[dict[str, object]]:
    command = [sys.executable, str(STAND_IN), str(folder), str(every)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.proof)])
def test_any_prefix_of_what_was_written_leads_to_the_same_ledger(
    every: int, tmp_path: Path
) -> None:
    lines = _lines(tmp_path, every)
    assert len(lines) > 40 // every and all(line["killed"] for line in lines[:-1])
    assert lines[-1]["killed"] is False  # the last one wrote all there is
    assert all(line["same"] for line in lines)
    assert all(line["redone"] == line["lost"] == [] for line in lines)
    known = [line["known"] for line in lines]  # how many writes a step takes differs by a few
    assert known[0] == 0 and known[-1] == 12
    assert every > 1 or {*known} == {*range(13)}
