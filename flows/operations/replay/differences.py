"""Where two versions of a step's output part, in words that name the place.

What cannot repeat (timestamps, durations, memory) is marked volatile in a file's schema and is left
out; everything else must be equal to the last bit.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.evaluation.round_metrics import steady
from dpo_core.records import volatile_columns
from dpo_core.text import visible

_ROUND = "metrics.json"
_SHOWN = 60


def difference(recorded: Path, again: Path) -> str | None:
    """The first difference of two files of one name whose bytes differ; None where only volatile
    parts do."""
    match recorded.suffix:
        case ".parquet":
            return _in_tables(pq.read_table(recorded), pq.read_table(again))
        case ".json":
            return _in_json(recorded, again)
        case ".safetensors":
            return _in_tensors(recorded.read_bytes(), again.read_bytes())
    return "its bytes differ"


def _in_tables(recorded: pa.Table, again: pa.Table) -> str | None:
    gone = volatile_columns(recorded.schema)
    old, new = (
        table.drop_columns([n for n in gone if n in table.column_names])
        for table in (recorded, again)
    )
    if old.column_names != new.column_names:
        return f"columns {', '.join(old.column_names)} then, {', '.join(new.column_names)} now"
    if len(old) != len(new):
        return f"{len(old):,} rows then, {len(new):,} now"
    for name in old.column_names:
        if not old[name].equals(new[name]):
            found = _first(old[name].to_pylist(), new[name].to_pylist())
            if found is not None:
                row, before, now = found
                return f"column {name}, row {row}: {_short(before)} then, {_short(now)} now"
    return None if gone else "the rows are equal, the bytes of the file are not"


def _first(old: list[Any], new: list[Any]) -> tuple[int, Any, Any] | None:
    """(row, value then, value now) of the first difference."""
    pairs = enumerate(zip(old, new, strict=True))
    return next(((row, a, b) for row, (a, b) in pairs if not _equal(a, b)), None)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        # NaN equals nothing, and −0 equals 0; their bits say what is meant.
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _in_json(recorded: Path, again: Path) -> str | None:
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (recorded, again))
    if recorded.name == _ROUND:
        old, new = steady(old), steady(new)
        if old == new:
            return None
    return next(_places(old, new, ""), "the values are equal, the bytes of the file are not")


def _places(old: Any, new: Any, where: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _places(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
    elif not _equal(old, new):
        yield f"{where}: {_short(old)} then, {_short(new)} now"


def _in_tensors(recorded: bytes, again: bytes) -> str:
    old, new = _tensors(recorded), _tensors(again)
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            return f"tensor {name}"
    return "its header"


def _tensors(file: bytes) -> Mapping[str, tuple[Any, bytes]]:
    """name → (dtype and shape, bytes), as the format of safetensors has it."""
    (length,) = struct.unpack("<Q", file[:8])
    header, body = json.loads(file[8 : 8 + length]), file[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: ((found["dtype"], found["shape"]), body[slice(*found["data_offsets"])])
        for name, found in header.items()
    }


def _short(value: Any) -> str:
    text = visible(repr(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
