"""Every column of metrics.parquet with its meaning, for the page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.campaign.round_metrics import COLUMNS
from dpo_core.text import visible
from reporting.as_json import as_json
from reporting.numbers import MISSING
from reporting.summary import CampaignSummary

CELL = 160
"""Characters of a value that is itself a mapping or a list."""


def all_columns(summary: CampaignSummary) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Name, meaning, one value per round."""
    rows = as_json(summary)["rounds"]
    meanings = {column.name: column.meaning for column in COLUMNS}
    names = dict.fromkeys([*meanings, *(name for row in rows for name in row)])
    return tuple(
        (
            visible(name),
            meanings.get(name, "measured by the judge"),
            tuple(written(row.get(name)) for row in rows),
        )
        for name in names
    )


def written(value: Any) -> str:
    """A value of whatever type as a cell of the long table, cut where it is long."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and not any(
        isinstance(v, Mapping | list) for v in value.values()
    ):
        said = "; ".join(f"{visible(str(reason))}: {count}" for reason, count in value.items())
        return _cut(said) or MISSING
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return _cut(visible(json.dumps(value, ensure_ascii=False))) if value else MISSING
    return f"{value:.6g}" if isinstance(value, float) else visible(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[:CELL]}…"
