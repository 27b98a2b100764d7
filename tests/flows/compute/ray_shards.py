"""A job in shards on a Ray cluster: `python ray_shards.py FOLDER ADDRESS WORKERS`; without an
address, on one that is started for it.

Its workers are real children that write the rows they are asked for, slowly. FOLDER/begun has a
line for each shard that is begun: its first row, the child's pid, and its owner's.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.compute.executor import Executor, WorkerPlan
from flows.compute.pool import WorkerPool
from flows.compute.ray_executor import RayExecutor
from flows.compute.shards import carry_out_in_shards
from flows.compute.shipping import Shipper
from flows.config.compute import ComputeConfig
from generation.config import SamplingConfig
from generation.jobs import SampleJob, SampleResult

ROWS, SHARD = 48, 4
WORKER = """
import os
import time
from pathlib import Path

import pyarrow.parquet as pq

from dpo_core.children import serve

def handle(request, report):
    job, root = request["job"], Path(request["root"])
    with (root / "begun").open("a") as begun:
        begun.write(f"{job['first']} {os.getpid()} {os.getppid()}\\n")
    with (root / "devices").open("a") as devices:
        devices.write(os.environ.get("CUDA_VISIBLE_DEVICES", "") + "\\n")
    for done in range(job["count"]):
        time.sleep(float(os.environ["ROW_S"]))
        report(done + 1, job["count"], "rows")
    rows = pq.read_table(root / job["source"]).slice(job["first"], job["count"])
    pq.write_table(rows, root / job["out"])
    return {"completions": job["count"], "threads": 1}

if __name__ == "__main__":
    serve(handle)
"""


def prepare(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "slow_worker.py").write_text(WORKER)
    (folder / "policy").mkdir(exist_ok=True)
    pq.write_table(pa.table({"number": range(ROWS)}), folder / "rows.parquet")


def begun(folder: Path) -> list[tuple[int, int, int]]:
    """First row, child and owner of each shard that was begun."""
    path = folder / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]  # type: ignore[misc]


def job(folder: Path) -> SampleJob:
    return SampleJob(
        policy=folder / "policy",
        policy_id="p",
        config=SamplingConfig(shard_prompts=SHARD),
        source=folder / "rows.parquet",
        out=folder / "out.parquet",
        samples_per_prompt=1,
        seed=1,
    )


def pool(folder: Path, executor: Executor, workers: int, row_s: float, gpus: int = 1) -> WorkerPool:
    def start(number: int):  # type: ignore[no-untyped-def]
        log = folder / "logs" / f"sampling-{number + 1}.log"
        environment = {"ROW_S": str(row_s)}
        return executor.start(
            WorkerPlan("slow_worker", log, 1, environment, gpus, number, side_by_side=workers)
        )

    return WorkerPool(start, executor)


def carry_out(
    folder: Path, executor: Executor, workers: int, row_s: float = 0.05, gpus: int = 1
) -> SampleResult:
    made = pool(folder, executor, workers, row_s, gpus)
    try:
        return carry_out_in_shards(job(folder), made, folder, workers, lambda *_: None)
    finally:
        made.release()


def opened(
    folder: Path, address: str | None, shipper: Shipper | None = None, **options: float
) -> RayExecutor:
    compute = ComputeConfig(kind="ray", address=address, **options)  # type: ignore[arg-type]
    return RayExecutor(compute, folder / "workers.json", print, shipper)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    carry_out(place, opened(place, sys.argv[2] or None), int(sys.argv[3]))
