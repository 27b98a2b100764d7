"""One DPO round by Ratchet and by TRL, in turns, in CPU-seconds at one thread.

    python -m benchmarks.dpo_round [--models A B] [--repeats 3] [--json FILE]

Each run is a process of its own: load the model, then measure the reference pass and one epoch of
training. `trl_plain` is TRL as users run it; `trl_strongest` is the fastest of all settings that
were found for it, each of which is run once, on fewer pairs, and printed with its flags.
"""

import random
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import workload
from benchmarks.dpo_round.runs import PLAIN, SETTINGS, ratchet, trl
from benchmarks.measure import add_json_option, child_result, machine, write_result

FLOORS = {
    "A": {"trl_plain": 6.0, "trl_strongest": 1.4},
    "B": {"trl_plain": 14.0, "trl_strongest": 1.4},
}
MEMORY = {"trl_plain": 1 / 6, "trl_strongest": 1.0}
MFU_FLOOR = 0.55
LOSS_DIFFERENCE = 1e-4


def measure(name: str, options: Namespace, ceiling: float) -> dict[str, Any]:
    model = workload.MODELS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        workload.build(model, folder / "model")
        chosen = random.Random(0)
        count = options.pairs or model.pairs
        lengths = [workload.usual_lengths(chosen) for _ in range(count)]
        few = lengths[: options.setting_pairs]
        workload.write(folder, list(workload.pairs(model.vocabulary, few)))
        tried = {setting: trl(folder, s) for setting, s in SETTINGS.items()}
        workload.write(folder, list(workload.pairs(model.vocabulary, lengths)))
        strongest = min(tried, key=lambda setting: tried[setting]["cpu_seconds"])
        runs: dict[str, list[dict[str, Any]]] = {
            "ratchet": [],
            "trl_plain": [],
            "trl_strongest": [],
        }
        for _ in range(options.repeats):
            runs["ratchet"].append(ratchet(folder, options.config))
            runs["trl_plain"].append(trl(folder, PLAIN))
            runs["trl_strongest"].append(trl(folder, SETTINGS[strongest]))
    flops = 4 * sum(model.forward_flops(*each) for each in lengths)  # reference, forward, backward
    return _compare(runs, tried, strongest, flops, ceiling, count, len(few))


def _compare(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    tried: Mapping[str, Mapping[str, Any]],
    strongest: str,
    flops: float,
    ceiling: float,
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
        "settings": {name: {key: run[key] for key in _NUMBERS} for name, run in tried.items()},
        "strongest": strongest,
        "mfu": flops / ours["cpu_seconds"] / (ceiling * 1e9),
        "max_loss_diff": max(
            abs(a - b) / abs(b)
            for a, b in zip(
                runs["ratchet"][0]["losses"], runs["trl_plain"][0]["losses"], strict=True
            )
        ),
    }
    for peer in ("trl_plain", "trl_strongest"):
        result[peer] = {
            "speedup": middle[peer]["cpu_seconds"] / ours["cpu_seconds"],
            "memory_ratio": ours["memory_mib"] / middle[peer]["memory_mib"],
        }
    return result


_NUMBERS = ("cpu_seconds", "seconds", "memory_mib")


def show(name: str, result: Mapping[str, Any]) -> None:
    verdict = "holds" if result["max_loss_diff"] <= LOSS_DIFFERENCE else "FAILS"
    print(
        f"{name}: {result['pairs']} pairs; losses differ by {result['max_loss_diff']:.1e} at most "
        f"(bound {LOSS_DIFFERENCE:.0e}): {verdict}"
    )
    for side, run in result["runs"].items():
        print(_line(side, run, result["pairs"]))
    for peer in ("trl_plain", "trl_strongest"):
        found, floor = result[peer], FLOORS[name][peer]
        holds = found["speedup"] >= floor and found["memory_ratio"] <= MEMORY[peer]
        print(
            f"  against {peer}: {found['speedup']:.2f} times as fast (floor {floor}), "
            f"{found['memory_ratio']:.2f} of its memory (floor {MEMORY[peer]:.2f}): "
            f"{'holds' if holds else 'FAILS'}"
        )
    verdict = "holds" if result["mfu"] >= MFU_FLOOR else "FAILS"
    print(f"  {result['mfu']:.1%} of the CPU's ceiling (floor {MFU_FLOOR:.0%}): {verdict}")
    few = result["setting_pairs"]
    print(f"  TRL under every setting, {few} pairs, once; the strongest is {result['strongest']}")
    for setting, run in result["settings"].items():
        print(_line(f"  {setting}", run, few))
        print(f"      {SETTINGS[setting]}")


def _line(name: str, run: Mapping[str, float], pairs: int) -> str:
    return (
        f"  {name:<54} {run['cpu_seconds']:7.1f} CPU-s  {run['cpu_seconds'] / pairs:6.3f} per pair"
        f"  {run['memory_mib']:7,.0f} MiB more"
    )


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.dpo_round", description=__doc__)
    parser.add_argument(
        "--models", nargs="*", default=list(workload.MODELS), choices=workload.MODELS
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pairs", type=int, help="default: 128 of A, 32 of B")
    parser.add_argument("--setting-pairs", type=int, default=16, help="to choose the strongest by")
    parser.add_argument("--config", default="{}", help="training options of our side, as JSON")
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    ceiling = child_result(["benchmarks.dpo_round.ceiling"], {})["gflops"]
    result: dict[str, Any] = {"machine": machine(), "ceiling_gflops": ceiling}
    print(f"one thread multiplies float32 matrices at {ceiling:.0f}·10⁹ operations/s at best")
    for name in options.models:
        result[name] = measure(name, options, ceiling)
        show(name, result[name])
    write_result(result, options.json)


if __name__ == "__main__":
    main()
