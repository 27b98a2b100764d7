"""Curves of accuracy and margin within each round's training."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.evaluation.intervals import wilson_ends
from dpo_core.tables import batched, read_rows

COLUMNS = ("accuracy", "margin")
COUNTED = ("pairs", "margin_spread")
"""Columns that intervals need; files of older versions may lack them."""
VALUES = 600
"""Approximate number of values of all curves together; a plot has no room for more."""

Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Mean:
    """value: mean over `pairs` pairs, whose standard deviation is `spread`; 0 and None if these
    were not recorded."""

    value: float
    pairs: int = 0
    spread: float | None = None

    def share_ends(self, z: float) -> Ends:
        """Wilson's interval of a share, at `z` standard deviations."""
        return wilson_ends(self.value, self.pairs, z) if self.pairs else None

    def mean_ends(self, z: float) -> Ends:
        """Interval of a mean by its standard error, at `z` standard deviations."""
        if not self.pairs or self.spread is None:
            return None
        half = z * self.spread / math.sqrt(self.pairs)
        return self.value - half, self.value + half


@dataclass(frozen=True)
class TrainingCurve:
    """at: share of the round's optimiser steps done. One value of each column per entry of `at`, a
    mean over neighbouring steps if there are many."""

    round: int
    at: tuple[float, ...]
    accuracy: tuple[Mean | None, ...]
    margin: tuple[Mean | None, ...]

    def column(self, name: str) -> Iterator[tuple[float, Mean]]:
        values = self.accuracy if name == "accuracy" else self.margin
        return ((at, v) for at, v in zip(self.at, values, strict=True) if v is not None)


def read_curves(layout: Layout, planned: int) -> tuple[TrainingCurve, ...]:
    """The curves of all rounds that recorded them."""
    curves = (_read(layout, number, max(8, VALUES // planned)) for number in range(1, planned + 1))
    return tuple(curve for curve in curves if curve is not None)


def _read(layout: Layout, number: int, bins: int) -> TrainingCurve | None:
    training = current_artifact(layout, number, "training")
    path = training.path("training.parquet") if training else None
    if path is None or not path.exists():
        return None
    recorded = pq.read_schema(path).names
    wanted = [name for name in ("step", *COLUMNS, *COUNTED) if name in recorded]
    rows = [_numbers(row) for row in read_rows(path, wanted)]
    if not rows or "step" not in wanted:
        return None
    parts = list(batched(rows, -(-len(rows) // bins)))
    last = max(row["step"] for row in rows)
    at = tuple((part[-1]["step"] / last if last else 1.0) for part in parts)
    accuracy, margin = (tuple(_mean(name, part) for part in parts) for name in COLUMNS)
    return TrainingCurve(number, at, accuracy, margin)


def _numbers(row: Mapping[str, float | None]) -> dict[str, float]:
    """Without what was not measured."""
    return {k: v for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}


def _mean(name: str, part: Sequence[Mapping[str, float]]) -> Mean | None:
    """Mean over neighbouring steps, weighted by their pairs."""
    known = [row for row in part if name in row]
    if not known:
        return None
    counted = all(row.get("pairs", 0) > 0 for row in known)
    pairs = sum(int(row["pairs"]) for row in known) if counted else 0

    def over(of: Callable[[Mapping[str, float]], float]) -> float:
        return sum(of(row) * (row["pairs"] if counted else 1) for row in known) / (
            pairs or len(known)
        )

    value = over(lambda row: row[name])
    if not all(f"{name}_spread" in row for row in known):
        return Mean(value, pairs)
    squares = over(lambda row: row[f"{name}_spread"] ** 2 + (row[name] - value) ** 2)
    return Mean(value, pairs, math.sqrt(squares))
