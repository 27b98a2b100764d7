"""Write docs/metrics.md from dpo_core.campaign.round_metrics; `make docs` runs this."""

from pathlib import Path

from dpo_core.campaign.metric_columns import COLUMNS, Column

HEAD = """# The columns of metrics.parquet

One row per round. `metrics.json` of a round and `ratchet status --json` hold the same names.
*Previous* always means the policy that was promoted last. Ends of intervals (`_low`, `_high`) are
at `evaluation.confidence`, by resampling prompts. Volatile columns are those that cannot repeat
between equal runs. Each measure a judge reports adds `measure_<name>`, `measure_<name>_previous`
and `measure_<name>_base`: a share, numerators and denominators summed over test completions.

| column | type | meaning |
|---|---|---|
"""


def page() -> str:
    """The page as it should be on disk."""
    rows = [
        f"| `{c.name}` | {c.kind.__name__} | {_cell(c)} |"
        for c in COLUMNS
        if not c.name.endswith(("_low", "_high"))
    ]
    ranged = [c.name.removesuffix("_low") for c in COLUMNS if c.name.endswith("_low")]
    intervals = ", ".join(f"`{name}`" for name in ranged)
    tail = f"\nWith `_low` and `_high` beside them: {intervals}.\n"
    return HEAD + "\n".join(rows) + "\n" + tail


def _cell(column: Column) -> str:
    meaning = column.meaning.replace("|", "\\|")
    return f"{meaning} (volatile)" if column.volatile else meaning


if __name__ == "__main__":
    Path("docs/metrics.md").write_text(page(), encoding="utf-8")
