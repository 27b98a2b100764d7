"""Fields of RoundMetrics: numbers that may be missing, with what they mean."""

import math
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Number = float | int | None
Whole = int | None
Text = str | None
Flag = bool | None
Json = dict[str, JsonValue] | list[JsonValue] | None
"""A mapping or a list, which is JSON text in metrics.parquet."""


def column(meaning: str, *, volatile: bool = False) -> Any:
    """A field that may be missing. volatile: it cannot repeat between equal runs."""
    return Field(None, description=meaning, json_schema_extra={"volatile": volatile})


def unrepeated(meaning: str) -> Any:
    """A field that cannot repeat between equal runs."""
    return column(meaning, volatile=True)


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


def finite(value: object) -> float | None:
    """A number that is one; None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


class MetricRow(BaseModel):
    """Base of RoundMetrics: its numbers by name, and as JSON."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def number(self, name: str) -> float | None:
        """The finite number in this column, or of this measure; None where there is none."""
        return finite(getattr(self, name, None))

    def interval(self, name: str) -> tuple[float | None, float | None, float | None]:
        """(number, low, high): the number in this column, and the ends of its interval."""
        return self.number(name), self.number(f"{name}_low"), self.number(f"{name}_high")

    def given(self) -> dict[str, object]:
        """What metrics.json has: the columns that were given, and measures of the judge."""
        return self.model_dump(exclude_unset=True)

    def whole(self) -> dict[str, object]:
        """The same, with None for every other column."""
        return {**dict.fromkeys(type(self).model_fields), **self.given()}

    def __or__(self, other: Self) -> Self:
        """These numbers, and those given of `other`, which take precedence."""
        return self.model_validate(self.given() | other.given())
