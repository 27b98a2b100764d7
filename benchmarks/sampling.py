"""Sampling through Ratchet against vLLM alone, on the same prompts, seeds and settings in one run.

    python -m benchmarks.sampling [--prompts 256 4096] [--json FILE]

`pipeline` is a prompt file to completions.parquet in the real sampling process. `raw` is
`vllm.LLM.generate` on token ids as a user would call it, without log-probs; `raw_logprobs` asks for
the log-probs that the pipeline always records. The three take turns. The model has random weights:
its words are noise, and lengths vary because it emits EOS by chance. benchmarks.sampling_real has
a real one.
"""

import hashlib
import json
import os
import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    add_json_option,
    cpu_seconds,
    forget_peak_memory,
    machine,
    medians,
    peak_memory_mib,
    write_result,
)
from dpo_core.children import Child, child_environment
from dpo_core.hashing import derive_seed
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import iterate_rows, write_rows
from examples.reviews.grammar import JOINTS, clause
from examples.reviews.model import build
from flows.compute.pool import WorkerPool
from flows.compute.shards import carry_out_in_shards
from generation.config import SamplingConfig
from generation.jobs import SampleJob

TARGET_SHARE = 0.95
MEMORY_GROWTH = 0.10
"""Memory counts as flat when the most prompts take at most this share more than the fewest."""
_SEED = 7
_WARM_UP_PROMPTS = 256


class Prompts:
    """Prompt files, with the token ids and seeds that the pipeline makes of them for a policy."""

    def __init__(self, folder: Path, policy: Path) -> None:
        from generation.sampling import load_tokenizer

        self.folder = folder
        self.policy = policy
        self._tokenizer = load_tokenizer(policy)

    def file(self, prompts: Sequence[Prompt]) -> Path:
        from generation.sampling import encode_prompt

        path = self.folder / f"{prompts[0].prompt_id}-{len(prompts)}.parquet"
        write_rows(path, map(prompt_row, prompts), PROMPTS)
        seeds = [derive_seed(_SEED, prompt.prompt_id) for prompt in prompts]
        ids = [encode_prompt(self._tokenizer, prompt) for prompt in prompts]
        path.with_suffix(".json").write_text(json.dumps(list(zip(ids, seeds, strict=True))))
        return path


class Pipeline:
    """The sampling process as a campaign runs it; a context manager that ends it."""

    def __init__(self, prompts: Prompts, options: Namespace, max_tokens: int) -> None:
        self._prompts = prompts
        self._samples = options.samples
        shard = {"shard_prompts": options.shard_prompts} if options.shard_prompts else {}
        self._config = SamplingConfig(
            max_tokens=max_tokens,
            max_model_len=options.max_model_len,
            dtype=options.dtype,
            **shard,
        )
        log, env = prompts.folder / "worker.log", _env(options)
        self._pool = WorkerPool(lambda _: Child.start("generation.worker", log, env))
        self._child, self._seconds_process = self._pool.worker()

    def run(self, prompts: Path) -> dict[str, float]:
        """One prompt file to completions.parquet; what it took, as the parent sees it."""
        pid = self._child.process.pid
        forget_peak_memory(pid)
        started, cpu_started = time.monotonic(), cpu_seconds(pid)
        job = self._job(prompts)
        result = carry_out_in_shards(job, self._pool, Path("/"), 1, lambda *_: None)
        seconds, cpu = time.monotonic() - started, cpu_seconds(pid) - cpu_started
        return {
            "tokens": result.tokens,
            "seconds": seconds - result.seconds_start,
            "cpu_seconds": cpu,
            "engine_seconds": result.seconds_engine,
            "peak_memory_mib": peak_memory_mib(pid),
            "start_seconds": result.seconds_start + self._seconds_process,
        }

    def tokens_sha256(self) -> str:
        rows = iterate_rows(self._out, ["token_ids"])
        return hashlib.sha256(json.dumps([row["token_ids"] for row in rows]).encode()).hexdigest()

    @property
    def _out(self) -> Path:
        return self._prompts.folder / "completions.parquet"

    def _job(self, prompts: Path) -> SampleJob:
        return SampleJob(
            policy=self._prompts.policy,
            policy_id="benchmark",
            source=prompts,
            out=self._out,
            samples_per_prompt=self._samples,
            seed=_SEED,
            config=self._config,
        )

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.release()


class RawVllm:
    """vLLM without Ratchet, in a process of its own; a context manager that ends it."""

    def __init__(self, prompts: Prompts, options: Namespace) -> None:
        self._request = {
            "policy": str(prompts.policy),
            "dtype": options.dtype,
            "n": options.samples,
            "max_tokens": options.max_tokens,
            "max_model_len": options.max_model_len,
        }
        log = prompts.folder / "raw.log"
        self._child = Child.start("benchmarks.raw_vllm", log, _env(options))

    def run(self, prompts: Path, *, logprobs: bool, seeded: bool = True) -> dict[str, Any]:
        ids = str(prompts.with_suffix(".json"))
        asked = {"prompts": ids, "logprobs": logprobs, "seeded": seeded}
        return self._child.ask({**self._request, **asked})

    def __enter__(self) -> "RawVllm":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()


def _env(options: Namespace) -> dict[str, str]:
    """The environment that a campaign gives its children; the same for both sides."""
    return {
        **child_environment(options.threads),
        "TORCHDYNAMO_DISABLE": "1",  # from here as generation.vllm_engine sets them
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


def reviews(count: int) -> list[Prompt]:
    """`count` distinct beginnings of reviews, two clauses each."""
    chosen = random.Random(0)
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = (clause(chosen), chosen.choice(JOINTS), clause(chosen), chosen.choice(JOINTS))
        texts[" ".join(words)] = None
    return [Prompt(prompt_id(text, None), text=text) for text in texts]


def throughput(prompts: Prompts, options: Namespace) -> dict[str, Any]:
    """Pipeline and raw vLLM in turns, for each number of prompts, after a warm-up of both.

    It fills a whole step, so that the first touch of the key-value cache is not measured.
    """
    warm = prompts.file(reviews(_WARM_UP_PROMPTS))
    with (
        Pipeline(prompts, options, options.max_tokens) as pipeline,
        RawVllm(prompts, options) as raw,
    ):
        started = pipeline.run(warm)["start_seconds"]
        raw.run(warm, logprobs=False)
        rows = [
            compare(pipeline, raw, prompts.file(reviews(count)), options.repeats)
            for count in options.prompts
        ]
        for count, row in zip(options.prompts, rows, strict=True):
            row["prompts"] = count
    return {"worker_start_seconds": started, "throughput": rows}


def compare(pipeline: Pipeline, raw: RawVllm, prompts: Path, repeats: int) -> dict[str, Any]:
    """Medians over the repeats, and the pipeline's share of raw vLLM's speed."""
    runs: dict[str, list[dict[str, float]]] = {"pipeline": [], "raw": [], "raw_logprobs": []}
    hashes = set()
    for _ in range(repeats):
        runs["pipeline"].append(pipeline.run(prompts))
        hashes.add(pipeline.tokens_sha256())
        for name, logprobs in (("raw", False), ("raw_logprobs", True)):
            run = raw.run(prompts, logprobs=logprobs)
            hashes.add(run.pop("sha256"))
            runs[name].append(run)
    rows: dict[str, Any] = {name: _with_speed(medians(found)) for name, found in runs.items()}
    ours = rows["pipeline"]
    shares = {
        f"share_of_{name}": ours["tokens_per_second"] / rows[name]["tokens_per_second"]
        for name in ("raw", "raw_logprobs")
    }
    cpu_share = rows["raw"]["cpu_seconds"] / ours["cpu_seconds"]
    holds = shares["share_of_raw"] >= TARGET_SHARE
    same = len(hashes) == 1
    return {**rows, **shares, "cpu_share_of_raw": cpu_share, "same_tokens": same, "holds": holds}


def memory(prompts: Prompts, options: Namespace) -> list[dict[str, float]]:
    """Peak resident memory of a sampling process while it answers each number of prompts."""
    rows = []
    with Pipeline(prompts, options, options.memory_max_tokens) as pipeline:
        for count in options.memory_prompts:
            run = pipeline.run(prompts.file(reviews(count)))
            rows.append({"prompts": count, **_with_speed(run)})
    return rows


def _with_speed(row: dict[str, float]) -> dict[str, float]:
    return {**row, "tokens_per_second": row["tokens"] / row["seconds"]}


def measure(options: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        build(policy, seed=0, hidden_size=options.hidden_size, layers=options.layers)
        prompts = Prompts(Path(folder), policy)
        result = {
            "machine": machine(),
            "options": {key: value for key, value in vars(options).items() if key != "json"},
            **(throughput(prompts, options) if options.prompts else {}),
            "memory": memory(prompts, options) if options.memory_prompts else [],
        }
    if peaks := [row["peak_memory_mib"] for row in result["memory"]]:
        growth = peaks[-1] / peaks[0] - 1
        result |= {"memory_growth": growth, "memory_holds": growth <= MEMORY_GROWTH}
    return result


def show(result: dict[str, Any]) -> None:
    if "worker_start_seconds" in result:
        print(
            f"the sampling process started in {result['worker_start_seconds']:.1f} s, not counted"
        )
    for row in result.get("throughput", []):
        print(f"{row['prompts']:,} prompts; tokens equal to raw vLLM's: {row['same_tokens']}")
        for name in ("pipeline", "raw", "raw_logprobs"):
            run = row[name]
            print(
                f"  {name:<13} {run['tokens_per_second']:8,.0f} tokens/s  {run['seconds']:7.2f} s  "
                f"{run['cpu_seconds']:7.2f} CPU-s"
            )
        print(
            f"  pipeline / raw: {row['share_of_raw']:.3f} by wall, {row['cpu_share_of_raw']:.3f} "
            f"by CPU-seconds; target {TARGET_SHARE}: {'holds' if row['holds'] else 'FAILS'}"
        )
    for row in result["memory"]:
        print(f"peak memory at {row['prompts']:,} prompts: {row['peak_memory_mib']:,.0f} MiB")
    if result["memory"]:
        verdict = "holds" if result["memory_holds"] else "FAILS"
        print(f"growth {result['memory_growth']:.1%}; target {MEMORY_GROWTH:.0%}: {verdict}")


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("--prompts", type=int, nargs="*", default=[256, 4096])
    parser.add_argument("--memory-prompts", type=int, nargs="*", default=[1024, 4096, 16384])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=4, help="completions per prompt")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--memory-max-tokens", type=int, default=8, help="rows count, not lengths")
    parser.add_argument("--max-model-len", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--hidden-size", type=int, default=256, help="256: 3.4 M parameters")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--shard-prompts", type=int, help="default: that of the config")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
