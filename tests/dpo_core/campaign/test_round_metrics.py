"""metrics.json of any version is read as RoundMetrics, and comes out of it as it was."""

import json
import math
from typing import Any

from dpo_core.campaign.gate_record import GateCheck, GateRecord
from dpo_core.campaign.metric_columns import COLUMNS
from dpo_core.campaign.round_metrics import RoundMetrics

EARLIER: dict[str, Any] = {
    "round": 2,
    "steps": 16,
    "loss": 1,
    "margin": 0.5,
    "accuracy": None,
    "decision": "promoted: it won",
    "gate": {
        "action": "promote",
        "checks": [{"name": "empty_share", "value": 0, "bound": 0.01, "passed": True}],
        "certificate": {"certified": True, "alpha": 0.05, "cpu_seconds": 1.5},
        "of_another_version": [1, 2],
    },
    "suites": {"sums": {"score": 1, "failed": False, "of_another_version": "x"}},
    "cycles": [[3, 2, 1]],
    "measure_polite": 0.75,
    "of_another_version": {"a": None},
}
"""Columns are missing, and some are there that this version does not know."""


def as_written(value: object) -> str:
    """As JSON, in which 1 and 1.0 differ and the order of keys says nothing."""
    return json.dumps(value, sort_keys=True)


def test_what_was_recorded_comes_out_as_it_was() -> None:
    row = RoundMetrics.model_validate(EARLIER)
    assert as_written(row.given()) == as_written(EARLIER)
    again = RoundMetrics.model_validate(row.given())
    assert again == row and as_written(again.given()) == as_written(EARLIER)


def test_every_column_is_there_in_the_whole_row() -> None:
    whole = RoundMetrics.model_validate(EARLIER).whole()
    assert whole.keys() == {column.name for column in COLUMNS} | EARLIER.keys()
    assert whole["loss"] == 1 and whole["win_rate_base"] is None


def test_numbers_by_name_are_finite_or_none() -> None:
    row = RoundMetrics(round=1, loss=math.nan, win_rate_base=0.6, win_rate_base_low=0.5)
    assert row.number("loss") is None and row.number("of_no_version") is None
    assert row.interval("win_rate_base") == (0.6, 0.5, None)
    assert RoundMetrics.model_validate(EARLIER).number("measure_polite") == 0.75


def test_what_the_gate_said() -> None:
    row = RoundMetrics.model_validate(EARLIER)
    assert row.decision == "promoted: it won" and row.at_gate.action == "promote"
    assert row.at_gate.checks == (GateCheck("empty_share", 0, 0.01, True),)
    older = RoundMetrics(round=1)
    assert older.decision == "" and older.at_gate == GateRecord()


def test_of_two_rows_the_later_one_counts_where_it_says_anything() -> None:
    both = RoundMetrics(round=1, loss=0.6, margin=0.1) | RoundMetrics(round=1, loss=None, steps=4)
    assert both.given() == {"round": 1, "loss": None, "margin": 0.1, "steps": 4}
