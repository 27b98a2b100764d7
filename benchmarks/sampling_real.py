"""Sampling through Ratchet against vLLM alone at a real size and vocabulary: SmolLM2-135M-Instruct,
whose 49,152 tokens make the sampler a good part of a step.

    python -m benchmarks.sampling_real [--dtype bfloat16] [--prompts 64] [--json FILE]

`pipeline` is a prompt file to completions.parquet in the real sampling process. `raw` is
`vllm.LLM.generate` with neither seeds nor log-probs, `raw_recorded` with the pipeline's seeds and
log-probs, both with vLLM's own settings. In each turn the three answer the same prompts, one after
the other in an order that changes; no two turns share a prompt. What counts are tokens per
CPU-second of the process that samples.
"""

import os
import random
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import add_json_option, machine, write_result
from benchmarks.sampling import Pipeline, Prompts, RawVllm
from dpo_core.records import Prompt, prompt_id
from dpo_core.tables import batched
from examples import smollm2
from examples.instructions.prompts import trained

TARGETS = {"raw_recorded": 0.95, "raw": 0.85}
"""Least shares of their tokens per CPU-second."""
_WARM_UP_PROMPTS = 4

Run = dict[str, Any]


def instructions(seed: int = 0) -> Iterator[Prompt]:
    """Chat prompts of examples.instructions, in an order that `seed` decides."""
    rows = [tuple(row["messages"]) for row in trained()]
    random.Random(seed).shuffle(rows)
    for messages in rows:
        yield Prompt(prompt_id(None, messages), messages=messages)


def measure(options: Namespace) -> dict[str, Any]:
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        prompts = Prompts(Path(name), _policy(Path(name)))
        asked = instructions()
        warm = prompts.file([next(asked) for _ in range(_WARM_UP_PROMPTS)])
        turns = batched(asked, options.prompts)
        with (
            Pipeline(prompts, options, options.max_tokens) as pipeline,
            RawVllm(prompts, options) as raw,
        ):
            started = pipeline.run(warm)["start_seconds"]
            raw.run(warm, logprobs=False, seeded=False)
            rows = [
                _turn(number, prompts.file(next(turns)), pipeline, raw)
                for number in range(options.turns)
            ]
    return {
        "machine": before,
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "worker_start_seconds": started,
        "turns": rows,
        "same_tokens": [row["pipeline"]["sha256"] == row["raw_recorded"]["sha256"] for row in rows],
        "shares": shares(rows),
    }


def _turn(number: int, prompts: Path, pipeline: Pipeline, raw: RawVllm) -> dict[str, Run]:
    kinds = {
        "pipeline": lambda: {**pipeline.run(prompts), "sha256": pipeline.tokens_sha256()},
        "raw_recorded": lambda: raw.run(prompts, logprobs=True),
        "raw": lambda: raw.run(prompts, logprobs=False, seeded=False),
    }
    names = list(kinds)
    order = [*names[number % 3 :], *names[: number % 3]]
    runs: dict[str, Run] = {}
    for name in order:
        runs[name] = {**kinds[name](), "load_average": os.getloadavg()[0]}
        show_run(name, runs[name])
    return runs


def shares(turns: Sequence[dict[str, Run]]) -> dict[str, dict[str, Any]]:
    """Of each peer's tokens per CPU-second, by turn, and whether the median is what it must be."""
    found = {}
    for name, target in TARGETS.items():
        each = [_per_cpu_second(turn["pipeline"]) / _per_cpu_second(turn[name]) for turn in turns]
        found[name] = {"shares": each, "median": median(each), "holds": median(each) >= target}
    return found


def _per_cpu_second(run: Run) -> float:
    return float(run["tokens"] / run["cpu_seconds"])


def _policy(folder: Path) -> Path:
    """SmolLM2 as a policy's folder."""
    from dpo_core.training.jobs import BaseJob
    from dpo_core.training.warm_start.base_policy import prepare_base

    policy = folder / "policy"
    model = str(smollm2.model_path())
    job = BaseJob(model=model, out_dir=policy, curve_path=folder / "none.parquet")
    prepare_base(job, lambda *_: None)
    return policy


def show_run(name: str, run: Run) -> None:
    print(
        f"{name:<13}{run['tokens']:8,} tokens  {run['cpu_seconds']:7.1f} CPU-s  "
        f"{1000 * run['cpu_seconds'] / run['tokens']:6.2f} CPU-ms per token  "
        f"{run['seconds']:7.1f} s  load {run['load_average']:.1f}",
        flush=True,
    )


def show(result: dict[str, Any]) -> None:
    same = result["same_tokens"]
    print(f"started in {result['worker_start_seconds']:.1f} s, not counted")
    print(f"tokens equal to those of vLLM with the same seeds in {sum(same)} of {len(same)} turns")
    for name, found in result["shares"].items():
        print(
            f"pipeline / {name}: {found['median']:.3f} "
            f"({', '.join(f'{share:.3f}' for share in found['shares'])}); target {TARGETS[name]}: "
            f"{'holds' if found['holds'] else 'FAILS'}"
        )


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.sampling_real", description=__doc__)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--prompts", type=int, default=64, help="in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--samples", type=int, default=6, help="completions per prompt")
    parser.add_argument("--max-tokens", type=int, default=112)
    parser.add_argument("--max-model-len", type=int, default=320)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add_json_option(parser)
    return parser.parse_args(arguments, Namespace(shard_prompts=None))


def main() -> None:
    options = parse()
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
