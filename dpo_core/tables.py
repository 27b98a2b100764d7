"""Parquet files: written whole and in order, read whole or in batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

T = TypeVar("T")
R = TypeVar("R", bound=Mapping[str, object])

_ROW_GROUP = 4096
_CODEC = "zstd"
TEXTS_AT_ONCE = 512
"""Rows per row group of tables whose texts have no length limit."""


def write_rows(
    path: Path,
    rows: Iterable[Mapping[str, object]],
    schema: pa.Schema,
    *,
    checksums: bool = False,
    row_group: int = _ROW_GROUP,
) -> int:
    """Write rows in order, one row group at a time. Returns the number of rows.

    checksums: write one per page, for files whose hash is not recorded. row_group: rows in memory
    at a time.
    """
    count = 0
    options = {"compression": _CODEC, "write_page_checksum": checksums}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for batch in batched(rows, row_group):
            writer.write_table(pa.Table.from_pylist(list(batch), schema=schema))
            count += len(batch)
    return count


class RowWriter:
    """Writes a file row by row, so that several files can be written at the same time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.count = 0
        self._rows: list[Mapping[str, object]] = []
        self._writer = pq.ParquetWriter(path, schema, compression=_CODEC)

    def write(self, row: Mapping[str, object]) -> None:
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == TEXTS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows = []

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._rows:
            self._flush()
        self._writer.close()


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a small file."""
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def iterate_as(path: Path, kind: type[R], batch_size: int = _ROW_GROUP) -> Iterator[R]:
    """The rows of a file of any size as `kind`, a TypedDict whose keys are the columns to read."""
    return cast(Iterator[R], iterate_rows(path, tuple(kind.__annotations__), batch_size))


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """A few narrow columns of a file of any size, as an Arrow table."""
    with pq.ParquetFile(path) as file:
        return file.read(list(columns), use_threads=False)


def count_rows(path: Path) -> int:
    """Number of rows, from the file's footer."""
    with pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def iterate_rows(
    path: Path, columns: Sequence[str] | None = None, batch_size: int = _ROW_GROUP
) -> Iterator[dict[str, Any]]:
    """The rows of a file of any size, one batch in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=batch_size, columns=columns):
            yield from batch.to_pylist()


def iterate_slice(
    path: Path, first: int, count: int | None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """At most `count` rows from the row `first` on; row groups before it are not read."""
    with pq.ParquetFile(path) as file:
        groups: list[int] = []
        skipped = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if not groups and skipped + rows <= first:
                skipped += rows
            else:
                groups.append(group)
        batches = file.iter_batches(_ROW_GROUP, row_groups=groups, columns=columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        last = None if count is None else first - skipped + count
        yield from islice(rows, first - skipped, last)


def concatenate(paths: Sequence[Path], out: Path, schema: pa.Schema) -> int:
    """Join files of one schema into `out`, one batch in memory at a time. Returns the row count."""
    count = 0
    with pq.ParquetWriter(out, schema, compression=_CODEC) as writer:
        for path in paths:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROW_GROUP):
                    writer.write_batch(batch)
                    count += batch.num_rows
    return count


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in their order, `size` at a time; the last list holds what is left."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
