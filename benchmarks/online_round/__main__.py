"""One round of iterative online DPO by Ratchet and by TRL, in turns, in CPU-seconds at one thread.

    python -m benchmarks.online_round [--prompts 256] [--repeats 3] [--json FILE]

Both sample two answers per prompt from the same policy, judge them by the same rule and train on
the pairs, in float32 and without checkpointing. `ratchet` is the campaign as it is by default,
`from_sampling` takes the reference's log-probs from the sampler. `trl_tuned` is TRL's
OnlineDPOTrainer under the fastest of its settings that were found, `trl_by_hand` the fastest with
vLLM put in by hand, which its own switch fails to do on CPU. Every setting is tried once on fewer
prompts, and printed.
"""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.dpo_round.workload import MODELS, Model
from benchmarks.measure import add_json_option, child_result, machine, medians, write_result
from benchmarks.online_round import workload
from benchmarks.online_round.workload import Size
from dpo_core.children import child_environment

FLOOR = 4.0
POLICY = MODELS["A"]
Settings = Mapping[str, Mapping[str, Any]]
_STATIC = {"allocator": True, "config": {"cache_implementation": "static"}}
_VLLM = {"allocator": True, "config": {"use_vllm": True}}
_BY_HAND = {**_VLLM, "vllm_by_hand": True}
TUNED: Settings = {
    "batch 32": {"batch": 32},
    "batch 32, allocator": {"batch": 32, "allocator": True},
    "batch 32, allocator, static cache": {"batch": 32, **_STATIC},
    "batch 16, allocator, static cache": {"batch": 16, **_STATIC},
    "batch 8, allocator": {"batch": 8, "allocator": True},
    "batch 8, allocator, static cache": {"batch": 8, **_STATIC},
    "batch 4, allocator, static cache": {"batch": 4, **_STATIC},
    "batch 4, allocator, static cache, by length": {"batch": 4, **_STATIC, "by_length": True},
    "batch 4, allocator, static cache, huge pages": {"batch": 4, **_STATIC, "huge_pages": True},
    "batch 2, allocator, static cache": {"batch": 2, **_STATIC},
    "batch 2, allocator, static cache, by length": {"batch": 2, **_STATIC, "by_length": True},
    "batch 8, allocator, vLLM": {"batch": 8, **_VLLM},
}
BY_HAND: Settings = {
    "batch 32, allocator, vLLM by hand": {"batch": 32, **_BY_HAND},
    "batch 8, allocator, vLLM by hand": {"batch": 8, **_BY_HAND},
    "batch 4, allocator, vLLM by hand": {"batch": 4, **_BY_HAND},
    "batch 4, allocator, vLLM by hand, huge pages": {"batch": 4, **_BY_HAND, "huge_pages": True},
    "batch 4, allocator, vLLM by hand, by length": {"batch": 4, **_BY_HAND, "by_length": True},
    "batch 2, allocator, vLLM by hand": {"batch": 2, **_BY_HAND},
}
OURS: Mapping[str, Mapping[str, Any]] = {
    "ratchet": {},
    "from_sampling": {"reference_logps": "from_sampling"},
}
_PEERS = {"trl_tuned": TUNED, "trl_by_hand": BY_HAND}


def measure(
    model: Model,
    size: Size,
    peers: Mapping[str, Settings],
    tries: int,
    repeats: int,
) -> dict[str, Any]:
    """Try every setting on `tries` prompts, then run both sides in turns, `repeats` times."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        workload.prepare(folder, model, size)
        tried = {
            peer: {name: _tried(folder, size, {**s, "prompts": tries}) for name, s in tried.items()}
            for peer, tried in peers.items()
        }
        strongest = {peer: fastest(found) for peer, found in tried.items()}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*OURS, *peers)}
        for _ in range(repeats):
            for name, config in OURS.items():
                runs[name].append(ratchet_run(folder, size, config))
            for peer, name in strongest.items():
                runs[peer].append(trl_run(folder, size, peers[peer][name]))
    return {
        "size": asdict(size),
        "tried": {name: run for found in tried.values() for name, run in found.items()},
        "strongest": strongest,
        **compare({name: medians(found) for name, found in runs.items()}),
    }


def fastest(tried: Mapping[str, Mapping[str, Any]]) -> str:
    """Name of the setting with the fewest CPU-seconds among those that ran to their end."""
    ran = {name: run["cpu_seconds"] for name, run in tried.items() if "fails" not in run}
    return min(ran, key=lambda name: ran[name])


def compare(runs: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """How many times TRL's CPU-seconds per pair are Ratchet's, without and with start-up.

    By peer, and by that within for each way of ours; what `ratchet` reaches stands beside them.
    """
    result: dict[str, Any] = {"runs": runs}
    for peer in (name for name in runs if name not in OURS):
        ways = {name: _compared(runs[peer], runs[name]) for name in OURS if name in runs}
        result[peer] = {**ways["ratchet"], "ways": ways}
    return result


def _compared(peer: Mapping[str, float], ours: Mapping[str, float]) -> dict[str, Any]:
    speedup = _per_pair(peer) / _per_pair(ours)
    return {
        "speedup": speedup,
        "speedup_with_start": _with_start(peer) / _with_start(ours),
        "holds": speedup >= FLOOR,
    }


def _per_pair(run: Mapping[str, float]) -> float:
    return run["cpu_seconds"] / run["pairs"]


def _with_start(run: Mapping[str, float]) -> float:
    return (run["cpu_seconds"] + run["start_cpu_seconds"]) / run["pairs"]


def _tried(folder: Path, size: Size, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run under `settings`, or the line that says why it ended before its end."""
    try:
        return trl_run(folder, size, settings)
    except SystemExit as ended:
        lines = str(ended).splitlines()
        return {"fails": next((line for line in reversed(lines) if "Error" in line), lines[0])}


def ratchet_run(folder: Path, size: Size, config: Mapping[str, Any]) -> dict[str, Any]:
    module = "benchmarks.online_round.ratchet_side"
    environment = child_environment(workload.THREADS)
    arguments = [str(folder), json.dumps(asdict(size)), json.dumps(config)]
    return child_result([module, *arguments], environment)


def trl_run(folder: Path, size: Size, settings: Mapping[str, Any]) -> dict[str, Any]:
    module = "benchmarks.online_round.trl_side"
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    if settings.get("huge_pages"):
        environment |= child_environment(workload.THREADS)
    arguments = [str(folder), json.dumps(asdict(size)), json.dumps(settings)]
    return child_result([module, *arguments], environment)


_PARTS = ("sampling", "judging", "training", "other")


def show(result: Mapping[str, Any]) -> None:
    size = result["size"]
    print(
        f"{size['prompts']} prompts, 2 answers of at most {size['max_tokens']} tokens each, "
        f"{size['pairs_per_step']} pairs of an optimiser step; CPU-seconds per pair, by part:"
    )
    columns = ("per prompt", "per pair", *_PARTS, "start-up", "pairs", "tokens")
    print(f"  {'':<50}" + "".join(f"{column:>11}" for column in columns))
    for side, run in result["runs"].items():
        print(_line(side, run))
    for peer, setting in result["strongest"].items():
        for way, found in result[peer]["ways"].items():
            print(
                f"  {way}: {found['speedup']:.2f} times as fast as {peer} ({setting}), "
                f"{found['speedup_with_start']:.2f} with start-up (floor {FLOOR}): "
                f"{'holds' if found['holds'] else 'FAILS'}"
            )
    print("  TRL under every setting tried, once")
    for name, run in result["tried"].items():
        print(f"    {name}: fails: {run['fails']}" if "fails" in run else _line(f"  {name}", run))


def _line(name: str, run: Mapping[str, float]) -> str:
    seconds = [run["cpu_seconds"] / run["prompts"]]
    seconds += [run[part] / run["pairs"] for part in ("cpu_seconds", *_PARTS)]
    shown = "".join(f"{value:11.3f}" for value in seconds)
    tokens = run["tokens"] / run["prompts"] / workload.SAMPLES_PER_PROMPT
    return f"  {name:<50}{shown}{run['start_cpu_seconds']:10.1f}s{run['pairs']:11.0f}{tokens:11.1f}"


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.online_round", description=__doc__)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--tries", type=int, default=32, help="prompts that settings are tried on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--peers", nargs="*", default=list(_PEERS), choices=_PEERS, help="TRL as it is, or more"
    )
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    peers = {name: _PEERS[name] for name in options.peers}
    result = {
        "machine": machine(),
        **measure(
            POLICY,
            Size(options.prompts),
            peers,
            options.tries,
            options.repeats,
        ),
    }
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
