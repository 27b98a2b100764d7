"""The types of rows have the columns of their tables."""

import pyarrow as pa
import pytest

from dpo_core.training.metrics.curves import (
    DPO_CURVE,
    REFERENCE_LOGPS,
    SFT_CURVE,
    DpoCurveRow,
    ReferenceLogpsRow,
    SftCurveRow,
)
from dpo_core.training.results import CurveSummary, DpoResult


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        (DPO_CURVE, DpoCurveRow),
        (SFT_CURVE, SftCurveRow),
        (REFERENCE_LOGPS, ReferenceLogpsRow),
    ],
)
def test_a_row_has_the_columns_of_its_table(schema: pa.Schema, row: type) -> None:
    assert list(row.__annotations__) == schema.names


def test_a_summary_has_every_column_of_the_curve_that_has_a_mean() -> None:
    counted = {"step", "tokens", "seconds", "pairs", "peak_memory_gib"}
    assert set(DPO_CURVE.names) - counted <= CurveSummary.model_fields.keys()
    assert "peak_memory_gib" in DpoResult.model_fields
