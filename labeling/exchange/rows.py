"""Tolerant reader for third-party files, one row in memory at a time."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.errors import LabelsError

_TEXT = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")
_KINDS = (*_TEXT, ".parquet", ".arrow")
_BATCH = 256
_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class SourceRow:
    """A row and its place, or the `problem` that makes it unreadable."""

    where: str
    row: Mapping[str, object] | None
    problem: str = ""


def data_files(path: Path) -> list[Path]:
    """The data files that `path` names: itself, or those in a folder, or its train split if any.

    Raises LabelsError when there are none.
    """
    if path.is_file():
        if not path.name.lower().endswith(_KINDS):
            raise LabelsError(
                f"{path} has an unknown file type", f"Give one of {', '.join(_KINDS)}."
            )
        return [path]
    if not path.is_dir():
        raise LabelsError(f"there is no file or folder {path}", "Check the path.")
    files = sorted(p for p in path.rglob("*") if _is_data(p, path))
    train = [p for p in files if any("train" in part for part in p.relative_to(path).parts)]
    if not files:
        raise LabelsError(f"{path} holds no data", f"It needs files {', '.join(_KINDS)}.")
    return train or files


def read_file(path: Path) -> Iterator[SourceRow]:
    """Every row of a file, or its problem; a truncated file ends at the damage."""
    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".arrow")):
            yield from _table(path)
        elif name.removesuffix(".gz").endswith((".csv", ".tsv")):
            yield from _csv(path)
        else:
            yield from _json(path)
    # A flipped bit in a page is an OSError in Arrow; one in an archive is a zlib.error.
    except (pa.ArrowException, EOFError, OSError, zlib.error) as error:
        yield SourceRow(str(path), None, f"the file cannot be read: {_first_line(error)}")


def _is_data(path: Path, folder: Path) -> bool:
    relative = path.relative_to(folder)
    hidden = any(part.startswith(".") for part in relative.parts)
    metadata = relative.name in ("dataset_info.json", "dataset_dict.json", "state.json")
    return (
        path.is_file()
        and not hidden
        and not metadata
        and relative.name.lower().endswith(_KINDS)
        and relative.parts[0] != "llamafactory"
    )


def _json(path: Path) -> Iterator[SourceRow]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if path.name.lower().removesuffix(".gz").endswith(".json") and _is_list(line):
                    yield from _json_list(path, line + file.read())
                    return
            if line.strip():
                yield _json_line(f"{path}:{number}", line)


def _is_list(line: bytes) -> bool:
    return line.lstrip().startswith(b"[")


def _json_list(path: Path, content: bytes) -> Iterator[SourceRow]:
    """Rows of one JSON list, which is loaded as a whole."""
    whole = _parse(str(path), content)
    if isinstance(whole, SourceRow):
        yield whole
        return
    for number, row in enumerate(whole, 1):
        yield _mapping(f"{path} row {number}", row)


def _json_line(where: str, line: bytes) -> SourceRow:
    row = _parse(where, line)
    return row if isinstance(row, SourceRow) else _mapping(where, row)


def _parse(where: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        return SourceRow(where, None, f"not UTF-8: byte {error.object[error.start]:#04x}")
    except ValueError as error:
        return SourceRow(where, None, f"not JSON: {_first_line(error)}")
    except RecursionError:
        return SourceRow(where, None, "nested too deeply")


def _mapping(where: str, row: Any) -> SourceRow:
    if isinstance(row, Mapping):
        return SourceRow(where, row)
    return SourceRow(where, None, f"expected an object, found {type(row).__name__}")


def _csv(path: Path) -> Iterator[SourceRow]:
    csv.field_size_limit(_LONGEST_FIELD)  # for the process; the default refuses long answers
    with _open(path) as file:
        # Invalid UTF-8 becomes lone surrogates, which are reported row by row.
        lines = (line.decode("utf-8", "surrogateescape") for line in file)
        first = next(lines, "").removeprefix("\ufeff")
        reader = csv.reader(_after(first, lines), delimiter=_delimiter(path, first), strict=True)
        header: list[str] = []
        while True:
            place = f"{path}:{reader.line_num + 1}"
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield SourceRow(place, None, f"not CSV: {error}")
                if not header:  # a later line cannot be the header
                    return
                continue
            if fields and header:
                yield _record(place, header, fields)
            header = header or fields


def _after(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(path: Path, header: str) -> str:
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return max(",;\t", key=header.count)


def _record(where: str, header: list[str], fields: list[str]) -> SourceRow:
    if len(fields) != len(header):
        return SourceRow(where, None, f"{len(fields)} fields, but the header has {len(header)}")
    return SourceRow(where, dict(zip(header, fields, strict=True)))


def _table(path: Path) -> Iterator[SourceRow]:
    number = 0
    for batch in _batches(path):
        checked = _is_sound(batch)
        for row in range(batch.num_rows):
            number += 1
            where = f"{path} row {number}"
            yield _row(batch.slice(row, 1), where, checked=checked)


def _row(row: pa.RecordBatch, where: str, *, checked: bool) -> SourceRow:
    try:
        if not checked:
            row.validate(full=True)
        return SourceRow(where, row.to_pylist()[0])
    except UnicodeDecodeError:
        return SourceRow(where, None, "not UTF-8")
    # Dates out of Python's range, and lengths that point outside of the file.
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return SourceRow(where, None, f"a value cannot be read: {_first_line(error)}")


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Whether Arrow validates the batch: an offset outside of a memory-mapped file would crash the
    process."""
    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return False
    return True


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".arrow":
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader
    else:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH)


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
