"""The demo itself, as `make demo` runs it: does the policy get better, round after round?"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, str]:
    """(metrics.parquet, what was printed) of the demo with its own seed."""
    folder = tmp_path_factory.mktemp("demo") / "campaign"
    command = [sys.executable, "-m", "flows.cli", "run", "configs/demo-cpu.yaml"]
    ran = subprocess.run(
        # One thread writes the same bytes as two, and may be forked (dpo_core.preloaded).
        [*command, "--campaign-dir", str(folder), "--set", "threads=1"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "90"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    return pd.read_parquet(folder / "metrics.parquet"), ran.stdout


def test_win_rate_against_the_base_rises_every_round(demo: tuple[pd.DataFrame, str]) -> None:
    metrics, _ = demo
    assert len(metrics) >= 3
    assert (metrics["test_prompts"] >= 256).all()
    assert metrics["win_rate_base"].is_monotonic_increasing
    assert metrics["win_rate_base"].is_unique
    last = metrics.iloc[-1]
    assert last["win_rate_base"] >= 0.75
    assert last["win_rate_base_low"] > 0.68


def test_fluency_holds(demo: tuple[pd.DataFrame, str]) -> None:
    metrics, _ = demo
    lost = metrics["measure_accepted_base"] - metrics["measure_accepted"]
    assert (lost <= 0.02).all()


def test_first_loss_is_ln_2_in_every_round(demo: tuple[pd.DataFrame, str]) -> None:
    metrics, _ = demo
    # The reference is the policy itself before its first step: −log σ(0) = ln 2.
    assert metrics["first_loss"].to_list() == pytest.approx([0.693147] * len(metrics), abs=1e-4)


def test_readme_shows_what_the_demo_prints(demo: tuple[pd.DataFrame, str]) -> None:
    _, printed = demo
    shown = (ROOT / "docs" / "demo-output.txt").read_text(encoding="utf-8")
    assert not _words(shown) - _words(printed), "run `make readme`"


_SENTENCES = ("!", "Better? ", "At what price? ", "Can I trust it? ")


def _words(output: str) -> set[str]:
    """The headings of an output: its lines without numbers, and without the report's path.

    Sentences above the tables are left out: what they say, and where they break, depends on the
    numbers, and these on the machine.
    """
    kept, sentence = set(), False
    for line in output.splitlines():
        sentence = line.startswith(_SENTENCES) or (sentence and bool(line.strip()))
        if not sentence and not line.startswith("report: "):
            kept.add(line.strip())
    return {line for line in kept if line and not any(c.isdigit() for c in line)}
