"""Fields of RoundMetrics: numbers that may be missing, with what they mean."""

from typing import Any

from pydantic import Field, JsonValue

Number = float | int | None
Whole = int | None
Text = str | None
Flag = bool | None
Json = dict[str, JsonValue] | list[JsonValue] | None
"""A mapping or a list, which is JSON text in metrics.parquet."""


def column(meaning: str, *, volatile: bool = False) -> Any:
    """A field that may be missing. volatile: it cannot repeat between equal runs."""
    return Field(None, description=meaning, json_schema_extra={"volatile": volatile})


def low_of(name: str) -> Any:
    """The lower end of an interval."""
    return column(f"lower end of the interval of {name}")


def high_of(name: str) -> Any:
    """The upper end of an interval."""
    return column(f"upper end of the interval of {name}")


def error_of(name: str) -> Any:
    """A standard error."""
    return column(f"standard error of {name}")


def of_policy(name: str, whose: str) -> Any:
    """The same number of the previous or the base policy."""
    return column(f"{name} of the {whose} policy")
