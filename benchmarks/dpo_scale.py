"""A DPO round on more and more pairs: CPU-seconds per pair, and the training process's peak memory.

    python -m benchmarks.dpo_scale [--pairs 1000 10000 100000] [--json FILE]

The pairs are reviews: two answers of the grammar to one prompt, judged by the task's own rule and
tokenised by the model's tokenizer; ties are left out. The model has some 30,000 parameters. Each
size has a training process of its own, as in a campaign, and a small round before it that loads
what is loaded once. Smaller sizes are repeated; medians are shown.
"""

import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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
from dpo_core.config import TrainingConfig
from dpo_core.records import Completion, Prompt, pair_id
from dpo_core.schemas import COMPLETIONS, PREFERENCES
from dpo_core.tables import write_rows
from dpo_core.training.jobs import DpoJob
from examples.reviews.grammar import generate
from examples.reviews.judge import score
from examples.reviews.model import build

GROWTH = 0.10
"""Time per pair and memory count as flat when no size takes this share more than the smallest."""
MOST_PARAMETERS = 100_000
_MOST_REPEATS = 5
_WARM_UP_PAIRS = 200


def measure(options: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=options.scratch) as place:
        folder = Path(place)
        build(folder / "model", seed=0, hidden_size=options.hidden_size, layers=options.layers)
        for pairs in {_WARM_UP_PAIRS, *options.pairs}:
            write(folder / str(pairs), folder / "model", pairs)
        sizes = [_size(folder, pairs, options) for pairs in options.pairs]
        parameters = _parameters(folder / "model")
    seconds = growth([size["cpu_seconds_per_pair"] for size in sizes])
    memory = growth([size["peak_memory_mib"] for size in sizes])
    return {
        "machine": machine(),
        "parameters": parameters,
        "sizes": sizes,
        "seconds_growth": seconds,
        "memory_growth": memory,
        "holds": max(seconds, memory) <= GROWTH and parameters <= MOST_PARAMETERS,
    }


def growth(values: Sequence[float]) -> float:
    """By what share the largest value exceeds the first."""
    return max(values) / values[0] - 1


def write(folder: Path, model: Path, pairs: int) -> None:
    """`pairs` judged pairs of reviews, as a round of a campaign leaves them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    words = tokenizer.get_vocab()
    completions, preferences = [], []
    for better, worse in islice(_judged(random.Random(0)), pairs):
        for each in (better, worse):
            ids = [words[word] for word in each.text.split()]
            row = _row(each) | {"token_ids": [*ids, tokenizer.eos_token_id]}
            prompt_ids = [words[word] for word in each.prompt.shown().split()]
            completions.append(row | {"prompt_token_ids": prompt_ids})
        preferences.append(_preference(better, worse))
    folder.mkdir()
    write_rows(folder / "completions.parquet", completions, COMPLETIONS)
    write_rows(folder / "preferences.parquet", preferences, PREFERENCES)


def _judged(chosen: random.Random) -> Iterator[tuple[Completion, Completion]]:
    """(better, worse) answers to one prompt, without end."""
    number = 0
    while True:
        number += 1
        start, first = generate(chosen)
        _, second = generate(chosen)
        prompt = Prompt(str(number), start)
        both = [
            Completion(f"{number}-{index}", prompt, text, "stop", len(text.split()) + 1, index)
            for index, text in enumerate((first, second))
        ]
        a, b = (judged.value for judged in score(both))
        assert a is not None and b is not None, "the rule judges every review"
        if a != b:
            yield (both[0], both[1]) if a > b else (both[1], both[0])


def _row(completion: Completion) -> dict[str, Any]:
    return {
        "completion_id": completion.completion_id,
        "prompt_id": completion.prompt.prompt_id,
        "sample_index": completion.sample_index,
        "text": completion.text,
        "token_logps": None,
        "finish_reason": completion.finish_reason,
        "seed": 0,
        "policy": "",
    }


def _preference(better: Completion, worse: Completion) -> dict[str, Any]:
    return {
        "pair_id": pair_id(better.completion_id, worse.completion_id),
        "prompt_id": better.prompt.prompt_id,
        "chosen": better.completion_id,
        "rejected": worse.completion_id,
        "p_chosen": 1.0,
        "sources": ["reviews"],
        "agreement": 1.0,
    }


def _parameters(model: Path) -> int:
    from transformers import AutoModelForCausalLM

    return int(AutoModelForCausalLM.from_pretrained(model).num_parameters())


def _size(folder: Path, pairs: int, options: Namespace) -> dict[str, float]:
    repeats = min(_MOST_REPEATS, max(options.pairs) // pairs)
    found = medians(_round(folder, pairs) for _ in range(repeats))
    per_pair = {f"{name}_per_pair": found[name] / pairs for name in ("cpu_seconds", "seconds")}
    return {"pairs": pairs, "repeats": repeats, **found, **per_pair}


def _round(folder: Path, pairs: int) -> dict[str, float]:
    """One DPO round in a training process of its own."""
    log = folder / "worker.log"
    environment = child_environment(threads=1)
    with Child.start("dpo_core.training.train_worker", log, environment) as child:
        child.carry_out(_job(folder, _WARM_UP_PAIRS))
        pid = child.process.pid
        forget_peak_memory(pid)
        started, cpu_started = time.monotonic(), cpu_seconds(pid)
        loss = child.carry_out(_job(folder, pairs)).loss
        return {
            "seconds": time.monotonic() - started,
            "cpu_seconds": cpu_seconds(pid) - cpu_started,
            "peak_memory_mib": peak_memory_mib(pid),
            "loss": loss,
        }


def _job(folder: Path, pairs: int) -> DpoJob:
    files = folder / str(pairs)
    return DpoJob(
        policy_dir=folder / "model",
        preferences=files / "preferences.parquet",
        completions=files / "completions.parquet",
        out_dir=files / "policy",
        curve_path=files / "training.parquet",
        reference_logps_path=files / "reference_logps.parquet",
        config=TrainingConfig(learning_rate=1e-4, compute_dtype="float32"),
    )


def show(result: Mapping[str, Any]) -> None:
    print(f"a model of {result['parameters']:,} parameters, one thread")
    for size in result["sizes"]:
        print(
            f"{size['pairs']:>10,} pairs: {1000 * size['cpu_seconds_per_pair']:.3f} CPU-ms a pair, "
            f"peak {size['peak_memory_mib']:,.0f} MiB  ({size['cpu_seconds']:.1f} CPU-s, "
            f"{size['seconds']:.1f} s, median of {size['repeats']})"
        )
    print(
        f"most above the smallest: time per pair {result['seconds_growth']:+.1%}, "
        f"memory {result['memory_growth']:+.1%} (at most {GROWTH:+.0%}): "
        f"{'holds' if result['holds'] else 'FAILS'}"
    )


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.dpo_scale", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument(
        "--scratch", type=Path, help="folder on disk for the files; default: TMPDIR"
    )
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
