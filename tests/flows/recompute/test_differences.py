"""The first difference of two files, by name; volatile parts are none."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from dpo_core.campaign.metric_columns import VOLATILE
from dpo_core.campaign.recomputing import difference

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("score", pa.float64()),
        ("tokens", pa.list_(pa.int32())),
        pa.field("seconds", pa.float64(), metadata={"volatile": "true"}),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "score": 0.5, "tokens": [1, 2], "seconds": 1.0},
    {"id": "b", "score": math.nan, "tokens": [], "seconds": 1.0},
    {"id": "c", "score": 0.0, "tokens": [3], "seconds": 1.0},
]


def tables(tmp_path: Path, row: int, **values: Any) -> str | None:
    changed = [{**old, **(values if n == row else {})} for n, old in enumerate(ROWS)]
    for name, rows in (("old.parquet", ROWS), ("new.parquet", changed)):
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / name)
    return difference(tmp_path / "old.parquet", tmp_path / "new.parquet")


@pytest.mark.parametrize(
    ("row", "values", "said"),
    [
        (0, {"seconds": 2.0}, None),
        (2, {"tokens": [4], "seconds": 2.0}, "column tokens, row 2: [3] then, [4] now"),
        (0, {"score": math.nextafter(0.5, 1)}, "column score, row 0: 0.5 then, 0.5000000000000001"),
        (2, {"score": -0.0}, "column score, row 2: 0.0 then, -0.0 now"),
        (1, {"score": 1.0}, "column score, row 1: nan then, 1.0 now"),
        (1, {"id": "\x1b[31m" + "b" * 99}, "column id, row 1: 'b' then, '\\x1b[31mbbb"),
    ],
)
def test_tables(tmp_path: Path, row: int, values: dict[str, Any], said: str | None) -> None:
    found = tables(tmp_path, row, **values)
    assert found is None if said is None else (found or "").startswith(said)


def test_tables_of_other_rows(tmp_path: Path) -> None:
    for name, rows in (("old.parquet", ROWS), ("new.parquet", ROWS[:1])):
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / name)
    assert difference(tmp_path / "old.parquet", tmp_path / "new.parquet") == "3 rows then, 1 now"


def test_the_row_of_a_round_may_differ_in_time(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "metrics.json", tmp_path / "new" / "metrics.json"
    volatile = min(VOLATILE)
    rows = {old: {"loss": 0.5, volatile: 1.0}, new: {"loss": 0.5, volatile: 2.0}}
    for path, row in rows.items():
        path.parent.mkdir()
        path.write_text(json.dumps(row), encoding="utf-8")
    assert difference(old, new) is None
    new.write_text(json.dumps({"loss": 0.25, "slices": {"a": 1}}), encoding="utf-8")
    assert difference(old, new) == "loss: 0.5 then, 0.25 now"


def test_weights(tmp_path: Path) -> None:
    import numpy as np

    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    weights = {"head": np.zeros(3, np.float32), "norm": np.ones(2, np.float32)}
    save_file(weights, old)
    save_file({**weights, "norm": np.array([1, -1], np.float32)}, new)
    assert difference(old, new) == "tensor norm"


def test_the_order_of_keys_is_no_difference(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text('{"count": 2, "total": 3.0}')
    new.write_text('{"total": 3.0, "count": 2}')
    assert difference(old, new) is None
    new.write_text('{"total": 3.5, "count": 2}')
    assert difference(old, new) == "total: 3.0 then, 3.5 now"


def test_sentences_of_another_version_are_no_difference(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "evaluation.json", tmp_path / "new" / "evaluation.json"
    numbers = {"win_rate": 0.5, "warnings": {"short": "was"}, "forgotten": {"sentence": "one"}}
    for path, found in ((old, numbers), (new, {**numbers, "warnings": {"short": "is"}})):
        path.parent.mkdir()
        path.write_text(json.dumps(found))
    assert difference(old, new) is None
    new.write_text(json.dumps({**numbers, "warnings": {"long": "is"}}))
    assert difference(old, new) == "warnings: ['short'] then, ['long'] now"
    new.write_text(json.dumps({**numbers, "win_rate": 0.6}))
    assert difference(old, new) == "win_rate: 0.5 then, 0.6 now"
