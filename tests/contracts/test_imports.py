"""What may import what (import-linter) and what stays light (in a fresh interpreter)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "vllm", "prefect", "argilla")


def test_import_arrows_hold() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import dpo_core",
        "import dpo_core.records",
        "import dpo_core.errors",
        "import generation.config",
        "import labeling.config",
        "import labeling.judges",
        "import flows.config",
        "import reporting.report",
        "import flows.campaign",
        "import sys; sys.argv = ['ratchet', '--help']; import flows.cli; flows.cli.main()",
        "import sys; sys.argv = ['ratchet', 'run', '--help']; import flows.cli; flows.cli.main()",
    ],
)
def test_import_is_light(statement: str) -> None:
    probe = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *(set({HEAVY}) & set(sys.modules))))\n{statement}"
    )
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "HEAVY"
