"""Schemas that are made of the types of rows."""

from typing import Literal, TypedDict

import pyarrow as pa

from dpo_core.row_types import Float32, Int32, VolatileFloat, VolatileTime
from dpo_core.schemas import volatile_columns
from dpo_core.tables import schema_of
from dpo_core.training.metrics.curves import DPO_CURVE
from dpo_core.training.results import CurveSummary, DpoResult


class Part(TypedDict):
    name: str


class Whole(TypedDict):
    number: Int32 | None
    side: Literal["a", "b"]
    logps: list[Float32] | None
    parts: list[Part]
    kept: bool
    seconds: VolatileFloat
    at: VolatileTime


def test_a_schema_follows_from_the_type_of_a_row() -> None:
    schema = schema_of(Whole)
    expected = [
        ("number", pa.int32()),
        ("side", pa.string()),
        ("logps", pa.list_(pa.float32())),
        ("parts", pa.list_(pa.struct([("name", pa.string())]))),
        ("kept", pa.bool_()),
        ("seconds", pa.float64()),
        ("at", pa.timestamp("ms", tz="UTC")),
    ]
    assert schema.equals(pa.schema(expected))
    assert volatile_columns(schema) == ["seconds", "at"]


def test_a_summary_has_every_column_of_the_curve_that_has_a_mean() -> None:
    counted = {"step", "tokens", "seconds", "pairs", "peak_memory_gib"}
    assert set(DPO_CURVE.names) - counted <= CurveSummary.model_fields.keys()
    assert "peak_memory_gib" in DpoResult.model_fields
