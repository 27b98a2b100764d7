"""Engines side by side against one, and what handing out shards costs.

    python -m benchmarks.scale [--prompts 1536] [--shards 24] [--repeats 3] [--json FILE]

`engines`: one and two real vLLM engines of one thread each, and one on a Ray cluster on this
machine, sample the same prompts in turns, after a warm-up of all. `dispatch`: stand-in engines that
sleep take thousands of shards, so that what is left is Ratchet's own work.
"""

import random
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import add_json_option, machine, write_result
from benchmarks.sampling import reviews
from dpo_core.children import child_environment
from dpo_core.hashing import file_sha256
from dpo_core.records import prompt_row
from dpo_core.resident_memory import peak_resident_bytes
from dpo_core.schemas import PROMPTS
from dpo_core.tables import write_rows
from examples.reviews.model import build
from flows.compute.dispatch import dispatch
from flows.compute.executor import Executor, LocalExecutor, Worker, WorkerPlan
from flows.compute.pool import WorkerPool
from flows.compute.ray_executor import RayExecutor
from flows.compute.shards import carry_out_in_shards
from flows.config.compute import ComputeConfig
from generation.config import SamplingConfig
from generation.jobs import SampleJob

TARGETS = {
    "two engines against one, by wall time": 1.7,
    "orchestrator, CPU-seconds per shard": 0.05,
    "share of 64 engines' time that they are busy": 0.95,
    "one engine on Ray against one without, by wall time": 1.15,
}
_SAMPLES, _MAX_TOKENS, _MAX_MODEL_LEN = 4, 40, 64


class Engines:
    """Engines of one thread each that sample one file, by an executor; a context manager that ends
    them."""

    def __init__(self, folder: Path, workers: int, shard_prompts: int, executor: Executor) -> None:
        env = {**child_environment(1), "VLLM_CPU_KVCACHE_SPACE": "1"}
        self._executor = executor
        self._folder, self._workers = folder, workers
        self._name = f"{workers}-{type(executor).__name__}"

        def start(number: int) -> Worker:
            log = folder / f"{self._name}-{number}.log"
            return executor.start(
                WorkerPlan("generation.worker", log, 1, env, 1, number, side_by_side=workers)
            )

        self._config = SamplingConfig(
            max_tokens=_MAX_TOKENS, max_model_len=_MAX_MODEL_LEN, shard_prompts=shard_prompts
        )
        self._pool = WorkerPool(start, executor)

    def run(self, prompts: Path, seed: int) -> dict[str, Any]:
        """What sampling the file took, the orchestrator's CPU-seconds, and the file's hash."""
        out = self._folder / f"{self._name}.parquet"
        job = SampleJob(
            policy=self._folder / "policy",
            policy_id="benchmark",
            config=self._config,
            source=prompts,
            out=out,
            samples_per_prompt=_SAMPLES,
            seed=seed,
        )
        started, own = time.monotonic(), time.process_time()
        carry_out_in_shards(job, self._pool, Path("/"), self._workers, lambda *_: None)
        seconds = time.monotonic() - started
        return {
            "seconds": seconds,
            "own_cpu_seconds": time.process_time() - own,
            "sha256": file_sha256(out),
        }

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.release()
        self._executor.close()


def measure_engines(options: Namespace) -> dict[str, Any]:
    """One and two engines in turns; each turn has a seed of its own."""
    shard = max(1, options.prompts // options.shards)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        build(folder / "policy", seed=0, hidden_size=options.hidden_size, layers=options.layers)
        prompts, warm = folder / "prompts.parquet", folder / "warm.parquet"
        write_rows(prompts, map(prompt_row, reviews(options.prompts)), PROMPTS)
        write_rows(warm, map(prompt_row, reviews(2 * shard)), PROMPTS)
        ray = RayExecutor(ComputeConfig(kind="ray"), folder / "workers.json", print)
        with (
            Engines(folder, 1, shard, LocalExecutor()) as one,
            Engines(folder, 2, shard, LocalExecutor()) as two,
            Engines(folder, 1, shard, ray) as remote,
        ):
            for engines in (one, two, remote):
                engines.run(warm, seed=0)
            turns = [
                (one.run(prompts, seed), two.run(prompts, seed), remote.run(prompts, seed))
                for seed in range(1, options.repeats + 1)
            ]
    return {
        "shards": options.prompts // shard,
        "seconds": [[run["seconds"] for run in turn] for turn in turns],
        "same_files": all(len({run["sha256"] for run in turn}) == 1 for turn in turns),
        "ratio": median(one["seconds"] / two["seconds"] for one, two, _ in turns),
        "ray_ratio": median(remote["seconds"] / one["seconds"] for one, _, remote in turns),
        "cpu_seconds_per_shard": median(
            run["own_cpu_seconds"] * shard / options.prompts for turn in turns for run in turn
        ),
    }


def measure_dispatch(engines: int, shards: int, seconds: float) -> dict[str, Any]:
    """Stand-in engines, each of which sleeps up to twice so many seconds for a shard."""
    chosen = random.Random(0)
    lengths = [chosen.uniform(0, 2 * seconds) for _ in range(shards)]
    busy: list[float] = [0.0] * engines
    peaks: list[float] = []

    def carry_out(engine: int, shard: int) -> None:
        started = time.monotonic()
        time.sleep(lengths[shard])
        busy[engine] += time.monotonic() - started

    def finished(engine: int, shard: int, _: None) -> None:
        if shard % 1000 == 999:
            peaks.append(peak_resident_bytes() / 2**20)

    started, own = time.monotonic(), time.process_time()
    dispatch(range(shards), range(engines), carry_out, finished, abandon=threading.Event().set)
    wall = time.monotonic() - started
    return {
        "engines": engines,
        "shards": shards,
        "busy_share": sum(busy) / engines / wall,
        "cpu_seconds_per_shard": (time.process_time() - own) / shards,
        "peak_memory_mib": peaks,
    }


def show(result: dict[str, Any]) -> None:
    two, per_shard, busy, on_ray = TARGETS.values()
    engines, queue = result["engines"], result["dispatch"]
    for first, second, remote in engines["seconds"]:
        print(
            f"{engines['shards']} shards: one engine {first:.1f} s, two {second:.1f} s, "
            f"one on Ray {remote:.1f} s"
        )
    print(f"Ray against none: {engines['ray_ratio']:.2f} (target {on_ray})")
    print(f"two against one: {engines['ratio']:.2f} (target {two}); {_same(engines)}")
    cpu = engines["cpu_seconds_per_shard"]
    print(f"orchestrator: {1000 * cpu:.1f} CPU-ms per shard (target {1000 * per_shard:.0f})")
    peaks = queue["peak_memory_mib"] or [0.0]
    print(
        f"{queue['engines']} engines, {queue['shards']:,} shards: busy {queue['busy_share']:.1%} "
        f"(target {busy:.0%}), {1000 * queue['cpu_seconds_per_shard']:.2f} CPU-ms per shard, "
        f"{peaks[-1] - peaks[0]:+.1f} MiB since the first thousand"
    )


def _same(engines: dict[str, Any]) -> str:
    return "equal files" if engines["same_files"] else "DIFFERENT FILES"


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--prompts", type=int, default=1536)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--engines", type=int, default=64, help="that sleep")
    parser.add_argument("--queue", type=int, default=10_000, help="shards for those that sleep")
    parser.add_argument("--sleep", type=float, default=0.25, help="seconds, in the mean")
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    result = {
        "machine": machine(),
        "engines": measure_engines(options),
        "dispatch": measure_dispatch(options.engines, options.queue, options.sleep),
    }
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
