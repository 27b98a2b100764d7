"""One campaign that was run until it waited; the tests copy it."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from waiting_runs import Patient

from tests.shared_argilla import SharedArgilla

Ended = tuple[Patient, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def waiting(argilla: SharedArgilla, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The campaign, and how the `ratchet run` ended that came to where people are needed."""
    patient = Patient(tmp_path_factory.mktemp("waiting") / "first", argilla.access).create()
    return patient, patient.ratchet("run")
