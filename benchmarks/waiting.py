"""How threads wait: a training round with OpenMP's default (spinning) and with passive waiting.

    python -m benchmarks.waiting CAMPAIGN [--repeats 3] [--json FILE]

Repeats the first round's training of a finished campaign in the real training process, alone and
beside one process that keeps a core busy, with each policy of waiting in turns.
"""

import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import add_json_option, cpu_seconds, machine, medians, write_result
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.training.jobs import DpoJob

POLICIES = {"default": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}


def train(job: DpoJob, env: dict[str, str], folder: Path) -> dict[str, float]:
    """One round in a training process of its own; its start is not counted."""
    env = {"OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false", **env}
    with Child.start("dpo_core.training.train_worker", folder / "train.log", env) as child:
        started, cpu_started = time.monotonic(), cpu_seconds(child.process.pid)
        child.carry_out(job)
        cpu = cpu_seconds(child.process.pid) - cpu_started
        return {"seconds": time.monotonic() - started, "cpu_seconds": cpu}


def job_of(campaign: Path, folder: Path) -> DpoJob:
    """The training job of round 1, with its outputs in `folder`."""
    layout = Layout(campaign)
    config = yaml.safe_load(layout.config.read_text(encoding="utf-8"))
    found = [(0, "base"), (1, "preferences"), (1, "completions")]
    base, preferences, completions = (current_artifact(layout, *step) for step in found)
    if base is None or preferences is None or completions is None:
        raise SystemExit(f"{campaign} has not finished its first round")
    return DpoJob(
        policy_dir=base.path("policy"),
        preferences=preferences.path("preferences.parquet"),
        completions=completions.path("completions.parquet"),
        out_dir=folder / "policy",
        curve_path=folder / "training.parquet",
        reference_logps_path=folder / "reference_logps.parquet",
        config=config["training"],
        seed=0,
        threads=config["threads"],
    )


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """`count` processes that each keep one core busy."""
    spin = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(spin) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(options: Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {}
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(options.campaign, Path(folder))
        for _ in range(options.repeats):
            for neighbours in (0, 1):
                with busy_neighbours(neighbours):
                    for name, env in POLICIES.items():
                        run = train(job, env, Path(folder))
                        runs.setdefault(f"{name}, {neighbours} busy neighbours", []).append(run)
    return {"machine": facts, "runs": {name: medians(found) for name, found in runs.items()}}


def show(result: dict[str, Any]) -> None:
    for name, run in result["runs"].items():
        print(f"{name:<28} {run['seconds']:7.2f} s  {run['cpu_seconds']:7.2f} CPU-s")


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("campaign", type=Path, help="folder of a finished campaign")
    parser.add_argument("--repeats", type=int, default=3)
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
