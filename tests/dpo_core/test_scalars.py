"""TensorBoard's events, read back with TensorBoard's own reader."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dpo_core.scalars import record_scalars


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def test_rows_come_back_by_step_and_name(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "loss": 0.75, "mfu": None, "name": "a", "done": False},
        {"step": 2, "loss": 0.5, "mfu": 0.25, "name": "b", "done": True},
    ]
    assert list(record_scalars(rows, tmp_path / "run", index="step", group="training")) == rows
    assert read(tmp_path / "run") == {
        "training/loss": [(1, 0.75), (2, 0.5)],
        "training/mfu": [(2, 0.25)],
        "training/done": [(1, 0.0), (2, 1.0)],
    }


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        list(record_scalars([{"step": 1, "loss": value}], tmp_path, index="step", group="g"))
    assert read(tmp_path) == {"g/loss": [(1, 2.0)]}


def test_rows_pass_without_a_folder() -> None:
    assert list(record_scalars([{"step": 1}], None, index="step", group="g")) == [{"step": 1}]


def test_writing_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dpo_core.scalars import record_scalars; "
        f"list(record_scalars([{{'step': 1, 'x': 1.0}}], Path({str(tmp_path)!r}), 'step', 'g')); "
        "print(sorted({'torch', 'tensorflow', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
