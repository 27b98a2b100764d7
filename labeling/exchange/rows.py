"""Rows of files of others, one in memory at a time, whatever is wrong with some of them."""

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
    """A row and where it stands; `problem` says why there is none."""

    where: str
    row: Mapping[str, Any] | None
    problem: str = ""


def data_files(path: Path) -> list[Path]:
    """The data files that `path` names: itself, or those of a folder, its train split if it has
    one. Raises LabelsError when there are none."""
    if path.is_file():
        if not path.name.lower().endswith(_KINDS):
            raise LabelsError(
                f"{path} is no file of a known kind", f"Give one of {', '.join(_KINDS)}."
            )
        return [path]
    if not path.is_dir():
        raise LabelsError(f"there is no file or folder {path}", "Check the path.")
    found = sorted(p for p in path.rglob("*") if _is_data(p, path))
    train = [p for p in found if any("train" in part for part in p.relative_to(path).parts)]
    if not found:
        raise LabelsError(f"{path} holds no data", f"It needs files {', '.join(_KINDS)}.")
    return train or found


def read_file(path: Path) -> Iterator[SourceRow]:
    """Every row of a file, or what is wrong with it; a file that breaks off ends there."""
    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".arrow")):
            yield from _table(path)
        elif name.removesuffix(".gz").endswith((".csv", ".tsv")):
            yield from _csv(path)
        else:
            yield from _json(path)
    # A flipped bit of a page is an OSError to Arrow, one of an archive an error of zlib.
    except (pa.ArrowException, EOFError, OSError, zlib.error) as error:
        yield SourceRow(str(path), None, f"the file cannot be read: {_first_line(error)}")


def _is_data(path: Path, folder: Path) -> bool:
    relative = path.relative_to(folder)
    hidden = any(part.startswith(".") for part in relative.parts)
    described = relative.name in ("dataset_info.json", "dataset_dict.json", "state.json")
    return (
        path.is_file()
        and not hidden
        and not described
        and relative.name.lower().endswith(_KINDS)
        and relative.parts[0] != "llamafactory"
    )


def _json(path: Path) -> Iterator[SourceRow]:
    with _opened(path) as file:
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
    """One list of rows cannot be read in parts, so it is in memory as a whole."""
    whole = _parsed(str(path), content)
    if isinstance(whole, SourceRow):
        yield whole
        return
    for number, row in enumerate(whole, 1):
        yield _mapping(f"{path} row {number}", row)


def _json_line(where: str, line: bytes) -> SourceRow:
    row = _parsed(where, line)
    return row if isinstance(row, SourceRow) else _mapping(where, row)


def _parsed(where: str, content: bytes) -> Any:
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
    csv.field_size_limit(_LONGEST_FIELD)  # of the process; its default refuses long answers
    with _opened(path) as file:
        # What is not UTF-8 becomes lone surrogates, which are found row by row.
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
                if not header:  # a later line is no header
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
        return SourceRow(where, None, f"it has {len(fields)} fields, the header has {len(header)}")
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
    # Days that Python's calendar has not, lengths that point out of the file.
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return SourceRow(where, None, f"a value cannot be read: {_first_line(error)}")


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Whether every length in it can be: Arrow's own format is read as it lies on disk, and what
    points out of the file ends the process."""
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


def _opened(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
