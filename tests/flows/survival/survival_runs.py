"""Real runs of `ratchet run` that can be watched, killed and compared; nothing is mocked."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.current import read_current, write_current
from dpo_core.campaign.layout import Layout, round_name
from dpo_core.campaign.metric_columns import VOLATILE, drop_volatile
from dpo_core.schemas import volatile_columns
from dpo_core.sealed import read_sealed
from tests.living import living
from tests.until import until

ROOT = Path(__file__).parents[3]
TRAINER, SERVER = "dpo_core.training.train_worker", "flows.prefect.server"

Condition = Callable[[Path], bool]
"""Whether a campaign's folder shows that a moment has come."""

_POLL_S = 0.002
_PATIENCE_S = 240.0
_MAY_LINGER_S = 5.0
_MARK = "RATCHET_SURVIVAL_TEST"


class Run:
    """One `ratchet run` in its own process; a context manager that leaves nothing of it alive."""

    def __init__(
        self,
        config: Path,
        campaign: Path,
        *,
        prefect: bool = True,
    ) -> None:
        self.campaign = campaign
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        # Beside the config: the campaign's own disk may be full.
        self._out = config.parent / f"{campaign.name}.{self._mark[-8:]}.out"
        self._err = self._out.with_suffix(".err")
        self.arguments = ["run", str(config), "--campaign-dir", str(campaign)]
        if not prefect:
            self.arguments.append("--no-prefect")
        name, value = self._mark.split("=")
        env = {**os.environ, "PYTHONPATH": str(ROOT), name: value}
        env.pop("PREFECT_API_URL", None)
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *self.arguments],
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env=env,
            )

    @property
    def error(self) -> str:
        """What it wrote to standard error so far."""
        return self._err.read_text(errors="replace")

    def wait_for(self, reached: Condition) -> None:
        """Return at the moment `reached` holds; fail when the run ends or takes too long before."""
        deadline = time.monotonic() + _PATIENCE_S
        while not reached(self.campaign):
            assert self.process.poll() is None, f"ended before its time\n{self.error}"
            assert time.monotonic() < deadline, f"never reached\n{self._out.read_text()}"
            time.sleep(_POLL_S)

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the orchestrator alone; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=_PATIENCE_S)

    def finish(self) -> int:
        return self.process.wait(timeout=_PATIENCE_S)

    def alive(self) -> dict[int, str]:
        """Pid → command line of every process of this run that lives."""
        return living(self._mark)

    def child(self, module: str) -> int:
        """Pid of the child that runs `module`."""
        (pid,) = (pid for pid, command in self.alive().items() if module in command.split())
        return pid

    def assert_nothing_survives(self) -> None:
        until(
            lambda: not self.alive(),
            lambda: f"still alive after {_MAY_LINGER_S} s: {self.alive()}",
            within_s=_MAY_LINGER_S,
        )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


def finish(config: Path, campaign: Path, *, prefect: bool = True) -> None:
    """Run to the end; exit code 0, nothing left behind."""
    with Run(config, campaign, prefect=prefect) as run:
        assert run.finish() == 0, run.error
        run.assert_nothing_survives()


# ── moments ──────────────────────────────────────────────────────────────────────────────────────


def after(number: int, step: str) -> Condition:
    """The ledger has this step."""
    return lambda campaign: (number, step) in finished_steps(campaign)


def inside_sampling(number: int, shards: int) -> Condition:
    """A first shard of the round's completions is on disk and the last one is not."""

    def reached(campaign: Path) -> bool:
        found = list(
            Layout(campaign).round(number).glob(".completions-*.partial/shards/*/0*.parquet")
        )
        return 0 < len(found) < shards

    return reached


def inside_training(number: int) -> Condition:
    """The reference pass is written, the trained policy is not."""

    def reached(campaign: Path) -> bool:
        partials = list(Layout(campaign).round(number).glob(".training-*.partial"))
        return any(
            (p / "reference_logps.parquet").exists() and not (p / "policy").exists()
            for p in partials
        )

    return reached


def past_a_checkpoint(number: int) -> Condition:
    """Training of the round has saved a part of it."""

    def reached(campaign: Path) -> bool:
        return any(
            Layout(campaign).round(number).glob(".training-*.partial/checkpoints/step-*/tensors")
        )

    return reached


# ── what is on disk ──────────────────────────────────────────────────────────────────────────────


def ledger(campaign: Path) -> list[dict[str, Any]]:
    """The whole lines of the ledger."""
    path = Layout(campaign).ledger
    if not path.exists():
        return []
    return [read_sealed(line)[0] for line in path.read_bytes().split(b"\n")[:-1]]


def finished_steps(campaign: Path) -> list[tuple[int, str]]:
    return [(entry["round"], entry["step"]) for entry in ledger(campaign)]


def resumed_from_step(campaign: Path, number: int) -> int:
    """Optimiser steps that the process which finished the round's training did not do itself."""
    [entry] = [e for e in ledger(campaign) if (e["round"], e["step"]) == (number, "training")]
    return int(entry["facts"]["resumed_from_step"])


def rewound(reference: Path, campaign: Path, number: int, step: str) -> Path:
    """A copy of a finished campaign, as it was when `step` of round `number` had just finished."""
    shutil.copytree(reference, campaign, ignore=shutil.ignore_patterns("prefect", "*.html"))
    layout = Layout(campaign)
    steps = finished_steps(campaign)
    kept = steps.index((number, step)) + 1
    lines = layout.ledger.read_text().splitlines(keepends=True)
    layout.ledger.write_text("".join(lines[:kept]))
    state = read_current(layout)
    rounds = {name: dict(steps) for name, steps in state.rounds.items()}
    for gone_round, gone in steps[kept:]:
        name = rounds[round_name(gone_round)].pop(gone)
        shutil.rmtree(layout.round(gone_round) / name)
    state = state.with_fact("rounds", rounds)
    write_current(layout, state.with_fact("promoted", None) if number == 0 else state)
    layout.metrics.unlink()
    return campaign


def assert_equal_campaigns(found: Path, reference: Path) -> None:
    """Every finished step once, in the same order, with equal artifacts and equal metrics."""
    assert [_steady_entry(e) for e in ledger(found)] == [
        _steady_entry(e) for e in ledger(reference)
    ]
    assert_equal_artifacts(found, reference)


def assert_equal_artifacts(found: Path, reference: Path) -> None:
    """Equal rows in every parquet file, equal weights and equal metrics, volatile columns aside."""
    ours, theirs = _current_files(found), _current_files(reference)
    assert sorted(ours) == sorted(theirs)
    kinds = {Path(name).suffix for name in ours}
    assert {".parquet", ".safetensors", ".json"} <= kinds
    different = [name for name in ours if content(ours[name]) != content(theirs[name])]
    assert different == []
    assert _metrics(found).equals(_metrics(reference))


def _steady_entry(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("round", "step", "fingerprint", "inputs", "came_in", "kept", "dropped", "threads")
    return {**{name: entry[name] for name in names}, "outputs": sorted(entry["outputs"])}


def _current_files(campaign: Path) -> dict[str, Path]:
    """Every output of every current step: its name in the campaign → its path."""
    layout = Layout(campaign)
    rounds = json.loads(layout.current.read_text())["rounds"]
    folders = [
        layout.root / "rounds" / n / name for n, steps in rounds.items() for name in steps.values()
    ]
    return {
        path.relative_to(campaign).as_posix(): path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.name != "step.json"
    }


def content(path: Path) -> Any:
    """What must repeat of a file."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.drop_columns(volatile_columns(table.schema))
    if path.name == "metrics.json":
        return drop_volatile(json.loads(path.read_text()))
    return sha256(path.read_bytes()).hexdigest()


def _metrics(campaign: Path) -> pa.Table:
    table = pq.read_table(Layout(campaign).metrics)
    return table.drop_columns(sorted(VOLATILE & set(table.column_names))).replace_schema_metadata()


def runs(campaign: Path, state: str) -> set[tuple[str, str]]:
    """(id, name) of Prefect's flow and task runs in a state."""
    return {(i, name) for i, name, found in _prefect_runs(campaign) if found == state}


def states(campaign: Path) -> set[str]:
    return {state for _, _, state in _prefect_runs(campaign)}


def _prefect_runs(campaign: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(Layout(campaign).prefect / "prefect.db")) as database:
        return [
            row
            for table in ("flow_run", "task_run")
            for row in database.execute(f"select id, name, state_type from {table}")
        ]
