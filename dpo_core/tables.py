"""Parquet files: written whole and in order, read whole or in batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.row_types import VOLATILE

T = TypeVar("T")
R = TypeVar("R", bound=Mapping[str, object])

_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("ms", tz="UTC"),
}
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_MARKED = {"int32": pa.int32(), "float32": pa.float32(), "messages": pa.list_(_MESSAGE)}
_ROW_GROUP = 4096
_CODEC = "zstd"
TEXTS_AT_ONCE = 512
"""Rows per row group of tables whose texts have no length limit."""


def schema_of(row: type) -> pa.Schema:
    """The schema of a table with rows of this TypedDict; see dpo_core.row_types.

    Example:
        >>> from typing import TypedDict
        >>> from dpo_core.row_types import Int32
        >>> class Step(TypedDict):
        ...     number: Int32
        ...     words: list[str] | None
        >>> schema_of(Step).types
        [DataType(int32), ListType(list<item: string>)]
    """
    return pa.schema(_fields(row))


def _fields(row: type) -> list[pa.Field]:
    hints = get_type_hints(row, include_extras=True).items()
    marked = ((name, kind, VOLATILE in _marks(kind)) for name, kind in hints)
    metadata = {VOLATILE: "true"}
    return [pa.field(n, _arrow(kind), metadata=metadata if v else None) for n, kind, v in marked]


def _marks(kind: Any) -> tuple[str, ...]:
    return kind.__metadata__ if get_origin(kind) is Annotated else ()


def _arrow(kind: Any) -> pa.DataType:
    if kind in _ARROW:
        return _ARROW[kind]
    if is_typeddict(kind):
        return pa.struct(_fields(kind))
    if narrow := set(_marks(kind)) - {VOLATILE}:
        return _MARKED[narrow.pop()]
    if get_origin(kind) is Literal:
        return pa.string()
    of_first = _arrow(get_args(kind)[0])  # of a list, a union with None, or what is annotated
    return pa.list_(of_first) if get_origin(kind) is list else of_first


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
    return list(pq.read_table(path, columns=columns).to_pylist())


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


def iterate_slice(path: Path, kind: type[R], first: int, count: int | None) -> Iterator[R]:
    """As `iterate_as`, at most `count` rows from the row `first` on; earlier row groups are not
    read."""
    with pq.ParquetFile(path) as file:
        groups: list[int] = []
        skipped = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if not groups and skipped + rows <= first:
                skipped += rows
            else:
                groups.append(group)
        columns = list(kind.__annotations__)
        batches = file.iter_batches(_ROW_GROUP, row_groups=groups, columns=columns)
        slice_rows = (cast(R, row) for batch in batches for row in batch.to_pylist())
        last = None if count is None else first - skipped + count
        yield from islice(slice_rows, first - skipped, last)


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
