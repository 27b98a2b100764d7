"""A round's pairs are what its files say, in any order of rows, and are not all in memory."""

import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpo_core.hashing import derive_seed
from dpo_core.schemas import COMPLETIONS, PREFERENCES
from dpo_core.tables import write_rows
from dpo_core.training.pairs.batching import TrainingPair, optimiser_steps
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.pairs.pair_files import Pairs, load_pairs

from ..conftest import completion, preference


def _rows(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(completions, preferences): random ids, three completions a prompt of which a pair has two,
    log-probs for two thirds of the pairs."""
    chosen = random.Random(0)

    def ids(most: int) -> list[int]:
        return [chosen.randrange(50_000) for _ in range(chosen.randint(0, most))]

    completions, preferences = [], []
    for number in range(count):
        prompt = [1, *ids(8)]
        for sample in range(3):
            row = completion(f"{number}-{sample}", "", "", "length")
            tokens = ids(12)
            logps = [-5 * chosen.random() for _ in tokens] if number % 3 else None
            row |= {"prompt_token_ids": prompt, "token_ids": tokens, "token_logps": logps}
            completions.append(row)
        winner, loser = chosen.sample(range(3), 2)
        soft = 1.0 if number % 2 else 0.75
        preferences.append(preference(f"{number}-{winner}", f"{number}-{loser}", soft))
    return completions, preferences


def _by_hand(
    completions: list[dict[str, Any]], preferences: list[dict[str, Any]]
) -> Iterator[TrainingPair]:
    """The same from the rows, as they come back from a parquet file."""
    by_id = {row["completion_id"]: row for row in completions}
    for row in preferences:
        chosen, rejected = by_id[row["chosen"]], by_id[row["rejected"]]
        told = (_float32_sum(each["token_logps"]) for each in (chosen, rejected))
        yield TrainingPair(
            row["pair_id"],
            chosen["prompt_token_ids"],
            chosen["token_ids"],
            rejected["token_ids"],
            (next(told), next(told)),
            row["p_chosen"],
        )


def _float32_sum(values: list[float] | None) -> float | None:
    import numpy as np

    if values is None:
        return None
    return float(sum(np.array(values, np.float32).tolist()))


def _load(folder: Path, completions: Any, preferences: Any) -> Pairs:
    write_rows(folder / "completions.parquet", completions, COMPLETIONS)
    write_rows(folder / "preferences.parquet", preferences, PREFERENCES)
    return load_pairs(folder / "preferences.parquet", folder / "completions.parquet", folder)


def test_pairs_are_those_of_the_files(tmp_path: Path) -> None:
    completions, preferences = _rows(3000)  # completions fill more than one batch of rows
    random.Random(1).shuffle(completions)
    pairs = _load(tmp_path, completions, preferences)
    expected = list(_by_hand(completions, preferences))
    assert list(pairs) == expected
    assert pairs[-1] == expected[-1] and pairs[5:8] == expected[5:8] and len(pairs) == 3000
    with pytest.raises(IndexError):
        pairs[3000]


def test_nothing_but_the_files_is_left(tmp_path: Path) -> None:
    pairs = _load(tmp_path, *_rows(5))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "completions.parquet",
        "preferences.parquet",
    ]
    assert len(list(pairs)) == 5


def test_completions_need_not_be_used_and_may_be_used_twice(tmp_path: Path) -> None:
    completions, _ = _rows(2)
    preferences = [preference("1-0", "1-1"), preference("1-2", "1-1")]
    pairs = _load(tmp_path, completions, preferences)
    assert list(pairs) == list(_by_hand(completions, preferences))


def test_order_follows_from_seed_epoch_and_ids(tmp_path: Path) -> None:
    pairs = _load(tmp_path, *_rows(50))
    found = [pair.pair_id for step in optimiser_steps(pairs, 8, seed=3, epoch=1) for pair in step]
    ids = [pair.pair_id for pair in pairs]
    assert found == sorted(ids, key=lambda i: (derive_seed(3, "order", 1, i), i))


def _write_large(folder: Path, count: int) -> None:
    """`count` pairs of 800 tokens, of which no two are alike."""

    def completions() -> Iterator[dict[str, Any]]:
        for number in range(2 * count):
            tokens = list(range(number, number + 300))
            row = {"prompt_token_ids": list(range(number // 2, number // 2 + 200))}
            yield completion(f"{number:06d}", "", "", "stop") | row | {"token_ids": tokens}

    pairs = (preference(f"{n:06d}", f"{n + 1:06d}") for n in range(0, 2 * count, 2))
    write_rows(folder / "completions.parquet", completions(), COMPLETIONS)
    write_rows(folder / "preferences.parquet", pairs, PREFERENCES)


_ONE_EPOCH = """
import os, sys
from pathlib import Path
from benchmarks.measure import peak_memory_mib
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.pairs.pair_files import load_pairs
folder = Path(sys.argv[1])
pairs = load_pairs(folder / "preferences.parquet", folder / "completions.parquet", folder)
logps = LogpsByPair(pair.pair_id for pair in pairs)
print(sum(len(step) for step in optimiser_steps(pairs, 32, 0, 0)), peak_memory_mib(os.getpid()))
"""


def test_memory_stays_flat(tmp_path: Path) -> None:
    """5,000 more pairs, 20 MB of token ids and several times that as Python lists, take few MiB."""
    peaks = []
    for count in (1_000, 6_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        _write_large(folder, count)
        command = [sys.executable, "-c", _ONE_EPOCH, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        trained_on, peak = done.stdout.split()
        assert int(trained_on) == count
        peaks.append(float(peak))
    assert peaks[1] - peaks[0] < 15, peaks


def test_log_probs_are_kept_by_pair() -> None:
    logps = LogpsByPair(iter(["b", "a", "ü", "c"]))
    logps.update({"ü": (-1.0, -2.0), "a": (-0.1, float("-inf"))})
    logps.update({"a": (-3.0, -4.0)})
    assert dict(logps) == {"a": (-3.0, -4.0), "ü": (-1.0, -2.0)} and len(logps) == 2
    assert list(logps) == ["a", "ü"] and "b" not in logps
    for strange in ("b", "d", "aa", "z"):
        with pytest.raises(KeyError):
            logps[strange]
    with pytest.raises(KeyError):
        logps.update({"d": (0.0, 0.0)})


def test_log_probs_take_little_memory() -> None:
    ids = [f"{number:016x}" for number in range(20_000)]
    tracemalloc.start()
    logps = LogpsByPair(ids)
    for pair_id in ids:
        logps.update({pair_id: (-1.5, -2.5)})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(logps) == 20_000 and kept / 20_000 < 50
