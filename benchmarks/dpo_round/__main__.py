"""One DPO round by Ratchet and by TRL, in turns: in CPU-seconds at one thread, or on a GPU.

    python -m benchmarks.dpo_round [--device DEVICE] [--models A B] [--repeats 3] [--json FILE]

Each run is a process of its own: load the model, then measure the reference pass and one epoch of
training. `trl_plain` is TRL as users run it; `trl_strongest` is the fastest of all settings that
were found for it, each of which is run once, on fewer pairs, and printed with its flags. `kinds`
says what is run, and what is demanded.
"""

import json
import math
import random
import statistics
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import table, workload
from benchmarks.dpo_round.kinds import KINDS, Kind
from benchmarks.dpo_round.runs import needed, ratchet, trl
from benchmarks.measure import add_json_option, child_result, machine, write_result
from dpo_core.processor import has_bfloat16

Ceiling = Mapping[str, Any]
"""As `ceiling.of_this_machine` returns it."""

_NUMBERS = ("cpu_seconds", "seconds", "memory_mib")


def measure(kind: Kind, name: str, options: Namespace, ceiling: Ceiling) -> dict[str, Any]:
    model = kind.models[name]
    config = json.dumps({**model.training, **json.loads(options.config)})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _build(kind, model, folder)
        chosen = random.Random(0)
        count = options.pairs or model.pairs
        lengths = [kind.lengths(chosen) for _ in range(max(count, model.alone))]
        longer, lengths = lengths, lengths[:count]
        few = lengths[: options.setting_pairs or kind.setting_pairs]

        def peer(setting: str) -> dict[str, Any]:
            settings = {**kind.settings[setting], "training": model.training}
            return trl(folder, settings, kind.environment)

        workload.write(folder, list(workload.pairs(model.vocabulary, few)))
        tried = _tried(kind, name, peer, len(few))
        workload.write(folder, list(workload.pairs(model.vocabulary, lengths)))
        strongest = min(tried, key=lambda setting: tried[setting].get(kind.clock, math.inf))
        turns = {"trl_plain": kind.plain, "trl_strongest": strongest}
        runs: dict[str, list[dict[str, Any]]] = {"ratchet": [], **{p: [] for p in kind.peers}}
        for _ in range(options.repeats):
            runs["ratchet"].append(ratchet(folder, config, kind.environment))
            for side in kind.peers:
                runs[side].append(needed(peer(turns[side])))
        result = compare(kind, runs, tried, strongest, count, len(few))
        result |= shares(model, lengths, result["runs"]["ratchet"][kind.clock], ceiling)
        if len(longer) > count:
            result["compared_mfu"] = result["mfu"]
            workload.write(folder, list(workload.pairs(model.vocabulary, longer)))
            alone = [ratchet(folder, config, kind.environment) for _ in range(options.repeats)]
            seconds = statistics.median(run[kind.clock] for run in alone)
            result["alone"] = {"pairs": len(longer), kind.clock: seconds}
            result |= shares(model, longer, seconds, ceiling)
    return result


def _build(kind: Kind, model: workload.Model, folder: Path) -> None:
    """On a GPU, a model of one layer as well, with which kernels are compiled before the clock."""
    workload.build(model, folder / "model", kind.device)
    if kind.warm:
        workload.build(replace(model, layers=1), folder / "warm", kind.device)


def _tried(
    kind: Kind, name: str, peer: Callable[[str], dict[str, Any]], pairs: int
) -> dict[str, dict[str, Any]]:
    """Each setting of TRL once, printed at once: on a GPU that is lent, time may run out."""
    print(f"{name}: TRL under every setting, {pairs} pairs, once", flush=True)
    tried: dict[str, dict[str, Any]] = {}
    for setting in kind.settings:
        run = peer(setting)
        tried[setting] = needed(run) if setting == kind.plain else run
        print(table.setting(kind, setting, tried, pairs), flush=True)
    return tried


def compare(
    kind: Kind,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    tried: Mapping[str, Mapping[str, Any]],
    strongest: str,
    pairs: int,
    setting_pairs: int,
) -> dict[str, Any]:
    middle = {
        side: {key: statistics.median(run[key] for run in found) for key in _NUMBERS}
        for side, found in runs.items()
    }
    ours = middle["ratchet"]
    result: dict[str, Any] = {
        "pairs": pairs,
        "setting_pairs": setting_pairs,
        "runs": middle,
        "path": runs["ratchet"][0]["path"],
        "settings": {
            name: {key: value for key, value in run.items() if key != "losses"}
            for name, run in tried.items()
        },
        "strongest": strongest,
        "max_loss_diff": max(
            kind.difference(a, b)
            for a, b in zip(
                runs["ratchet"][0]["losses"], runs[kind.peers[0]][0]["losses"], strict=True
            )
        ),
    }
    for peer in kind.peers:
        result[peer] = {
            "speedup": middle[peer][kind.clock] / ours[kind.clock],
            "memory_ratio": ours["memory_mib"] / middle[peer]["memory_mib"],
        }
    return result


def shares(
    model: workload.Model, lengths: Sequence[workload.Lengths], seconds: float, ceiling: Ceiling
) -> dict[str, float | None]:
    """Useful operations as shares of what the device can do, None where that is not known."""
    reached = sum(model.round_flops(*each) for each in lengths) / seconds / 1e9
    names = {"mfu": "gflops", "mfu_data_sheet": "data_sheet_gflops"}
    return {
        share: reached / most if (most := ceiling[peak]) else None for share, peak in names.items()
    }


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.dpo_round", description=__doc__)
    parser.add_argument("--device", choices=KINDS, default="cpu")
    names = [name for kind in KINDS.values() for name in kind.models]
    parser.add_argument("--models", nargs="*", choices=names, help="default: all of the device")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--pairs", type=int, help="default: 48 of A, 16 of B and C, 256 of 0.5B, 64 of 7B"
    )
    parser.add_argument(
        "--setting-pairs",
        type=int,
        help="to choose the strongest by; default: 16, 8 of C, on a GPU 64",
    )
    parser.add_argument("--config", default="{}", help="training options of our side, as JSON")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    models = KINDS[options.device].models
    options.models = options.models or list(models)
    if strange := sorted(set(options.models) - set(models)):
        parser.error(f"--device {options.device} measures {', '.join(models)}, not {strange[0]}")
    return options


def missing(kind: Kind) -> str | None:
    """What this machine lacks for the benchmark, in one line."""
    if kind.device == "cuda" and not _sees_gpu():
        return "--device cuda needs an NVIDIA GPU, and torch sees none here"
    if kind.device == "cpu" and kind.dtype == "bfloat16" and not has_bfloat16():
        return "--device cpu-bfloat16 needs a CPU with AMX or AVX512-BF16"
    if find_spec("trl") is None:
        return "TRL is missing, which Ratchet is compared with: pip install trl==1.16.0"
    return None


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run(kind: Kind, options: Namespace) -> None:
    """Measure the models one by one; what is known is written after each."""
    ceiling = child_result(["benchmarks.dpo_round.ceiling", kind.dtype], kind.environment)
    result: dict[str, Any] = {
        "machine": machine(),
        "device": ceiling["device"],
        "ceiling_gflops": ceiling["gflops"],
    }
    print(
        f"{ceiling['device']}: {kind.ceiling} multiplies {kind.dtype} matrices at "
        f"{ceiling['gflops']:.0f}·10⁹ operations/s at best"
    )
    for name in options.models:
        result[name] = measure(kind, name, options, ceiling)
        table.show(kind, name, result[name])
        write_result(result, options.json)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    kind = KINDS[options.device]
    if lacking := missing(kind):
        print(lacking, file=sys.stderr)
        return 2
    run(kind, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
