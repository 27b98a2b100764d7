"""The fields of RoundMetrics as columns of metrics.parquet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.metric_fields import Flag, Number, Text, Whole
from dpo_core.campaign.round_metrics import RoundMetrics


@dataclass(frozen=True)
class Column:
    """A column of metrics.parquet. volatile: it cannot repeat between equal runs."""

    name: str
    kind: type
    meaning: str
    volatile: bool = False


def _columns() -> tuple[Column, ...]:
    kinds: Mapping[Any, type] = {Number: float, Whole: int, int: int, Text: str, Flag: bool}
    columns = []
    for name, field in RoundMetrics.model_fields.items():
        extra = field.json_schema_extra
        volatile = isinstance(extra, dict) and bool(extra["volatile"])
        kind = kinds.get(field.annotation)
        meaning = ("JSON: " if kind is None else "") + (field.description or "")
        columns.append(Column(name, kind or str, meaning, volatile))
    return tuple(columns)


COLUMNS = _columns()
JSON_COLUMNS = tuple(column.name for column in COLUMNS if column.meaning.startswith("JSON: "))
"""Columns that are mappings or lists in metrics.json and JSON text in metrics.parquet."""

VOLATILE = frozenset(column.name for column in COLUMNS if column.volatile)


def drop_volatile(row: Mapping[str, object]) -> dict[str, object]:
    """The part of a metrics row that equal runs repeat."""
    return {name: value for name, value in row.items() if name not in VOLATILE}
