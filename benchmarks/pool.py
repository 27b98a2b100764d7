"""Starting a round on a large prompt pool: time and peak memory of reading it and drawing from it.

    python -m benchmarks.pool [--rows 10000 100000 1000000] [--json FILE]

Each size runs in a process of its own: a JSONL file of short prompts, every row parsed, checked,
hashed and split, and 512 train prompts drawn.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import add_json_option, machine, write_result

TARGET_SECONDS = 10.0
"""CPU-seconds for a million rows. One machine took 4.9 and, while its host was busy, 6.9."""
TARGET_GROWTH_MIB = 32.0
"""Peak memory of the largest pool over that of the smallest: buffers, not rows."""

_SENTENCE = (
    "why is the sky blue how do plants grow what makes a good story tell me about rivers and "
    "explain to a child when should one repair write letter for my old friend in few short words"
)


def write_pool(path: Path, rows: int) -> None:
    """`rows` prompts of 4 to 16 words, nearly all of them distinct."""
    chosen, known = random.Random(0), _SENTENCE.split()
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            words = chosen.choices(known, k=chosen.randint(3, 15))
            file.write(json.dumps({"prompt": f"{' '.join(words).capitalize()} {number}?"}) + "\n")


def draw(path: Path, count: int) -> dict[str, Any]:
    """Draw from the pool in this process; what it took since the process began to import."""
    from generation.config import PromptsConfig
    from generation.prompts import draw_train, read_pool

    config = PromptsConfig(path=str(path))
    started, cpu_started = time.monotonic(), time.process_time()
    drawn = draw_train(read_pool(config), count, seed=0, used={})
    return {
        "rows": drawn.pool,
        "drawn": len(drawn.prompts),
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure(options: Namespace) -> dict[str, Any]:
    rows = [_in_a_process(count, options) for count in options.rows]
    largest = rows[-1]
    growth = largest["peak_memory_mib"] - rows[0]["peak_memory_mib"]
    allowed = TARGET_SECONDS * max(largest["rows"] / 1e6, 0.1)
    return {
        "machine": machine(),
        "pools": rows,
        "memory_growth_mib": growth,
        "holds": growth <= TARGET_GROWTH_MIB and largest["cpu_seconds"] <= allowed,
    }


def _in_a_process(rows: int, options: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        pool = Path(folder) / "pool.jsonl"
        write_pool(pool, rows)
        command = [sys.executable, "-m", "benchmarks.pool", "--draw", str(pool)]
        command += ["--count", str(options.count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def show(result: dict[str, Any]) -> None:
    for row in result["pools"]:
        print(
            f"{row['rows']:>10,} prompts: {row['seconds']:6.2f} s, "
            f"{row['cpu_seconds']:6.2f} CPU-s, peak {row['peak_memory_mib']:.0f} MiB"
        )
    print(
        f"a million in {TARGET_SECONDS:.0f} CPU-s and memory flat to {TARGET_GROWTH_MIB:.0f} MiB: "
        f"{'holds' if result['holds'] else 'FAILS'}"
    )


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--count", type=int, default=512, help="prompts drawn")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw from FILE, print JSON, end")
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.draw:
        print(json.dumps(draw(options.draw, options.count)))
        return
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
