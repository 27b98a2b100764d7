"""How accuracy and margin went within each round's training."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import current_artifact
from dpo_core.tables import batched, read_rows

COLUMNS = ("accuracy", "margin")
VALUES = 600
"""Values of all rounds' curves together, about: a plot has no room for more."""


@dataclass(frozen=True)
class Curve:
    """`at`: share of the round's optimiser steps that were done; one list of values per column, a
    mean over neighbouring steps where there are many."""

    round: int
    at: tuple[float, ...]
    accuracy: tuple[float | None, ...]
    margin: tuple[float | None, ...]

    def column(self, name: str) -> Iterator[tuple[float, float]]:
        values = self.accuracy if name == "accuracy" else self.margin
        return ((at, v) for at, v in zip(self.at, values, strict=True) if v is not None)


def read_curves(layout: Layout, planned: int) -> tuple[Curve, ...]:
    found = (_read(layout, number, max(8, VALUES // planned)) for number in range(1, planned + 1))
    return tuple(curve for curve in found if curve is not None)


def _read(layout: Layout, number: int, bins: int) -> Curve | None:
    training = current_artifact(layout, number, "training")
    path = training.path("training.parquet") if training else None
    if path is None or not path.exists():
        return None
    there = pq.read_schema(path).names
    wanted = [name for name in ("step", *COLUMNS) if name in there]
    rows = list(read_rows(path, wanted))
    if not rows or "step" not in wanted:
        return None
    parts = list(batched(rows, -(-len(rows) // bins)))
    last = max(row["step"] for row in rows)
    at = tuple((part[-1]["step"] / last if last else 1.0) for part in parts)
    means = {
        name: tuple(_mean([row.get(name) for row in part]) for part in parts) for name in COLUMNS
    }
    return Curve(number, at, means["accuracy"], means["margin"])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else None
