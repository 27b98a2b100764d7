"""A round's pairs, read from its files: memory-mapped, each built on access.

Parquet is compressed, so the needed columns are streamed once into an Arrow file, which is then
mapped: any pair is a few slices away. `datasets` maps Arrow files too, but its rows take 26 µs each
where a pair, which is two rows, takes 12 µs here, and its files would stay in a cache of its own.
"""

import mmap
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import IO, Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dpo_core.errors import BadInput, RatchetError
from dpo_core.tables import count_rows, read_columns
from dpo_core.training.pairs.batching import TrainingPair

_ROWS = 512
"""Rows of the completions file in memory at a time."""
_MAPPED_READS = 16
"""Reads after which mapped pages are released; the system maps up to 2 MiB around each read."""
_MAPPED = pa.schema(
    [
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("sampled_logp", pa.float64()),
    ]
)

Ints = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Pairs(Sequence[TrainingPair]):
    """The pairs of a preference file, in order. They take about 50 bytes of memory each."""

    def __init__(self, preferences: pa.Table, rows_P2: Ints, completions: "_MappedCompletions"):
        self._ids = preferences["pair_id"].combine_chunks()
        self._p_chosen = preferences["p_chosen"].to_numpy()
        self._rows_P2 = rows_P2
        self._completions = completions

    def __len__(self) -> int:
        return len(self._p_chosen)

    @overload
    def __getitem__(self, index: int) -> TrainingPair: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingPair]: ...
    def __getitem__(self, index: int | slice) -> TrainingPair | list[TrainingPair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._pair(range(len(self))[index])

    def _pair(self, index: int) -> TrainingPair:
        chosen, rejected = (self._completions[int(row)] for row in self._rows_P2[index])
        return TrainingPair(
            self._ids[index].as_py(),
            chosen.prompt_ids.tolist(),
            chosen.ids.tolist(),
            rejected.ids.tolist(),
            (chosen.sampled_logp, rejected.sampled_logp),
            float(self._p_chosen[index]),
        )

    def check(self) -> None:
        """Raise BadInput for the first pair that cannot be trained on."""
        for index, rows in enumerate(self._rows_P2):
            chosen, rejected = (self._completions[int(row)].prompt_ids for row in rows)
            if not np.array_equal(chosen, rejected):
                pair_id = self._ids[index].as_py()
                raise BadInput(f"the completions of pair {pair_id} have different prompts")
            if not len(chosen):
                raise BadInput(
                    f"the prompt of pair {self._ids[index].as_py()} has no tokens, so nothing "
                    "predicts the first token of its completions",
                    "Drop empty prompts, or use a tokenizer that adds BOS.",
                )


def load_pairs(preferences: Path, completions: Path, scratch: Path | None = None) -> Pairs:
    """Load the pairs of a preference file with the token ids of their completions.

    scratch: folder on a disk with space for these token ids; by default the system's temporary one.
    The file there has no name, so nothing remains of it however the process ends.

    Raises RatchetError when there are no pairs, and BadInput when one cannot be trained on.
    """
    if not count_rows(preferences):
        raise RatchetError(
            "the round has no preferences to train on",
            "Lower pairs.min_margin, or raise sampling.samples_per_prompt or prompts.per_round.",
        )
    needed, places = np.unique(_find_rows(preferences, completions), return_inverse=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        _write(completions, needed, file)
        mapped = _MappedCompletions(file)
    rows = read_columns(preferences, ["pair_id", "p_chosen"])
    # Arrow keeps freed memory for itself; the model needs it later.
    pa.default_memory_pool().release_unused()
    pairs = Pairs(rows, places.reshape(-1, 2), mapped)
    pairs.check()
    return pairs


def _find_rows(preferences: Path, completions: Path) -> Ints:
    """(pair, 2) rows of the completions file with each pair's chosen and rejected completion."""
    known = read_columns(completions, ["completion_id"])["completion_id"].combine_chunks()
    rows, missing = [], set[str]()
    for side in ("chosen", "rejected"):
        wanted = read_columns(preferences, [side])[side].combine_chunks()
        indices = pc.index_in(wanted, value_set=known)
        missing.update(wanted.filter(indices.is_null()).to_pylist())
        rows.append(indices.to_numpy(zero_copy_only=False))
    if missing:
        raise BadInput(
            f"{preferences} names completion {min(missing)}, which is not in {completions} "
            f"({len(missing)} such completions)"
        )
    return np.stack(rows, axis=1)


def _write(completions: Path, needed: Ints, file: IO[bytes]) -> None:
    """Stream the needed rows (sorted) of the completions file into an Arrow file."""
    columns = ["prompt_token_ids", "token_ids", "token_logps"]
    first = 0
    with pq.ParquetFile(completions) as source, pa.ipc.new_file(file, _MAPPED) as target:
        for batch in source.iter_batches(_ROWS, columns=columns, use_threads=False):
            begin, end = np.searchsorted(needed, (first, first + batch.num_rows))
            rows = batch.take(pa.array(needed[begin:end] - first))
            target.write_batch(_mapped_columns(rows))
            first += batch.num_rows
    file.flush()


def _mapped_columns(rows: pa.RecordBatch) -> pa.RecordBatch:
    logps = rows["token_logps"].to_pylist()
    sums = [nan if values is None else float(sum(values)) for values in logps]
    columns = [rows["prompt_token_ids"], rows["token_ids"], pa.array(sums, pa.float64())]
    return pa.record_batch(columns, schema=_MAPPED)


class _Completion(NamedTuple):
    """Token ids of a completion and its prompt; logp is NaN where the sampler returned none."""

    prompt_ids: Ints
    ids: Ints
    logp: float

    @property
    def sampled_logp(self) -> float | None:
        return None if isnan(self.logp) else self.logp


class TokenLists:
    """A column of lists of integers, without a copy."""

    def __init__(self, column: pa.ListArray) -> None:
        self._offsets = column.offsets.to_numpy()
        self._values = column.values.to_numpy()

    def __getitem__(self, row: int) -> Ints:
        tokens: Ints = self._values[self._offsets[row] : self._offsets[row + 1]]
        return tokens


class _MappedCompletions:
    """The rows of an Arrow file with schema _MAPPED. The file may be closed afterwards.

    Mapped pages count as memory of the process although the system may reclaim them at any time.
    They are released now and then, so that this count does not grow with the pairs; pages that are
    read again come back by themselves.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.py_buffer(self._map))
        self._reads = 0
        self._firsts = [0]
        self._columns = []
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            logps = batch["sampled_logp"].to_numpy()
            lists = (TokenLists(batch[name]) for name in ("prompt_token_ids", "token_ids"))
            self._columns.append((*lists, logps))
            self._firsts.append(self._firsts[-1] + batch.num_rows)
            self._release_pages()

    def __getitem__(self, row: int) -> _Completion:
        self._reads += 1
        if self._reads % _MAPPED_READS == 0:
            self._release_pages()
        number = bisect_right(self._firsts, row) - 1
        prompts, ids, logps = self._columns[number]
        row -= self._firsts[number]
        return _Completion(prompts[row], ids[row], float(logps[row]))

    def _release_pages(self) -> None:
        self._map.madvise(mmap.MADV_DONTNEED)
