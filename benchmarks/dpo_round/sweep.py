"""One DPO round over sequence lengths and prompt:response ratios: time and memory per pair.

    python -m benchmarks.dpo_round.sweep [--lengths 256 512 1024 2048 4096] [--ratios 4:1 1:1 1:4]
                                         [--trl] [--figures DIR] [--json FILE]

A length is the tokens of a prompt with one response; both responses of a pair have the same. Each
setting is a process of its own at one thread, as in `benchmarks.dpo_round`. Cost must grow no
faster than attention demands: time as the useful floating-point operations do, of which attention's
share grows with the square of the length, and memory as the tokens do.
"""

import json
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import figures, workload
from benchmarks.dpo_round.kinds import CPU
from benchmarks.dpo_round.runs import SETTINGS, needed, ratchet, trl
from benchmarks.measure import add_json_option, machine, write_result

TOLERANCE = 0.25
"""Seconds per useful operation, and MiB per token added, may grow by this share."""
_PASSES = 4
"""Forward passes that a pair costs: reference, forward, and backward, which is worth two."""
_TRL = SETTINGS["batch 1 x 8, completion rows, allocator"]
_ENVIRONMENT = CPU.environment


def measure(options: Namespace) -> dict[str, Any]:
    model = workload.MODELS[options.model]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        workload.build(model, Path(place) / "model")
        for ratio in options.ratios:
            for length in options.lengths:
                row = _setting(Path(place), model, ratio, length, options)
                print(_line(row), flush=True)
                rows.append(row)
    verdicts = [judge(ratio, [r for r in rows if r["ratio"] == ratio]) for ratio in options.ratios]
    return {"machine": machine(), "model": options.model, "settings": rows, "verdicts": verdicts}


def _setting(
    folder: Path, model: workload.Model, ratio: str, length: int, options: Namespace
) -> dict[str, Any]:
    prompt, response = split(length, ratio)
    pairs = max(options.fewest_pairs, options.tokens // length)
    lengths = [(prompt, response, response)] * pairs
    workload.write(folder, list(workload.pairs(model.vocabulary, lengths)))
    row = {
        "ratio": ratio,
        "length": length,
        "pairs": pairs,
        "tokens_per_pair": prompt + 2 * response,
        "gflop_per_pair": _PASSES * model.forward_flops(*lengths[0]) / 1e9,
    }
    sides = {"ratchet": ratchet(folder, options.config, _ENVIRONMENT)}
    if options.trl:
        sides["trl"] = needed(trl(folder, _TRL, _ENVIRONMENT))
    for name, run in sides.items():
        row[name] = {
            "cpu_seconds_per_pair": run["cpu_seconds"] / pairs,
            "memory_mib": run["memory_mib"],
        }
    return row


def split(length: int, ratio: str) -> tuple[int, int]:
    """(prompt, response) tokens that add up to `length`."""
    prompt, response = (int(part) for part in ratio.split(":"))
    share = round(length * prompt / (prompt + response))
    return share, length - share


def judge(ratio: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How much dearer an operation and a token are at the longest pairs.

    time_growth: seconds per useful operation there, over those at the shortest, less one.
    memory_growth: MiB per token that the longest pairs add over the pairs before them, over what
    these add over those before; a constant, like the optimiser's state, has no part in it. None
    for fewer than three lengths.
    """
    rows = sorted(rows, key=lambda row: row["length"])
    per_gflop = [row["ratchet"]["cpu_seconds_per_pair"] / row["gflop_per_pair"] for row in rows]
    time_growth = per_gflop[-1] / per_gflop[0] - 1
    memory_growth = None
    if len(rows) > 2:
        before, last = (_added_per_token(rows[end - 2 : end]) for end in (len(rows) - 1, len(rows)))
        memory_growth = last / before - 1
    return {
        "ratio": ratio,
        "time_growth": time_growth,
        "memory_growth": memory_growth,
        "holds": time_growth <= TOLERANCE and (memory_growth or 0) <= TOLERANCE,
    }


def _added_per_token(rows: Sequence[Mapping[str, Any]]) -> float:
    shorter, longer = rows
    added = longer["ratchet"]["memory_mib"] - shorter["ratchet"]["memory_mib"]
    return float(added / (longer["tokens_per_pair"] - shorter["tokens_per_pair"]))


def _line(row: Mapping[str, Any]) -> str:
    cells = [f"{row['ratio']:>4} {row['length']:>6,} tokens, {row['pairs']:>3} pairs:"]
    for name in ("ratchet", "trl"):
        if name in row:
            run = row[name]
            gflops = row["gflop_per_pair"] / run["cpu_seconds_per_pair"]
            cells.append(
                f"{name} {run['cpu_seconds_per_pair']:8.3f} CPU-s a pair ({gflops:5.1f}·10⁹ useful "
                f"operations/s), {run['memory_mib']:7,.0f} MiB more"
            )
    return "  ".join(cells)


def show(result: Mapping[str, Any]) -> None:
    for verdict in result["verdicts"]:
        memory = verdict["memory_growth"]
        shown = "not known" if memory is None else f"{memory:+.0%}"
        print(
            f"{verdict['ratio']:>4} from the shortest to the longest: time per useful operation "
            f"{verdict['time_growth']:+.0%}, memory per token added {shown} "
            f"(at most {TOLERANCE:+.0%}): {'holds' if verdict['holds'] else 'FAILS'}"
        )


def _ratios(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        prompt, _, response = word.partition(":")
        if not (prompt.isdigit() and response.isdigit() and int(prompt) and int(response)):
            raise SystemExit(f"a ratio is prompt:response, like 4:1, not {word!r}")
        yield word


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.dpo_round.sweep", description=__doc__)
    parser.add_argument("--model", default="A", choices=workload.MODELS)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--ratios", nargs="+", default=["4:1", "1:1", "1:4"])
    parser.add_argument("--tokens", type=int, default=8192, help="of all pairs of a setting")
    parser.add_argument("--fewest-pairs", type=int, default=2)
    parser.add_argument("--trl", action="store_true", help="run TRL's best settings as well")
    parser.add_argument("--config", default="{}", help="training options of our side, as JSON")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="draw the figures there, as SVG"
    )
    add_json_option(parser)
    options = parser.parse_args(arguments)
    options.ratios = list(_ratios(options.ratios))
    json.loads(options.config)
    return options


def main() -> None:
    options = parse()
    result = measure(options)
    show(result)
    write_result(result, options.json)
    if options.figures:
        for path in figures.draw(result["settings"], options.figures):
            print(path)


if __name__ == "__main__":
    main()
