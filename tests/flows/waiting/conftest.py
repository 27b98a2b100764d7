"""One campaign that was run until it waited, once for all workers; the tests copy it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from waiting_runs import Patient

from tests.made_once import made_once
from tests.shared_argilla import SharedArgilla

Ended = tuple[Patient, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def waiting(argilla: SharedArgilla, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The campaign, and how the `ratchet run` ended that came to where people are needed."""

    def wait(folder: Path) -> None:
        patient = Patient(folder / "first", argilla.access).create()
        done = patient.ratchet("run")
        ended = {"mark": patient.mark, "code": done.returncode, "said": [done.stdout, done.stderr]}
        (folder / "ended.json").write_text(json.dumps(ended), encoding="utf-8")

    folder = made_once(tmp_path_factory, "waiting", wait)
    ended = json.loads((folder / "ended.json").read_text(encoding="utf-8"))
    patient = Patient(folder / "first", argilla.access)
    patient.mark = ended["mark"]
    done = subprocess.CompletedProcess(patient.command("run"), ended["code"], *ended["said"])
    return patient, done
