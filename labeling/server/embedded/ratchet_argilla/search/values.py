"""Values inside JSON columns as rows, and conditions on them. Every name and value is bound."""

import json
from typing import Any, TypeAlias

from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.search_engine.base import RangeFilter, TermsFilter
from sqlalchemy import ColumnElement, TableValuedAlias, and_, case, func, or_, true

Match: TypeAlias = TermsFilter | RangeFilter

_NUMBERS = ("integer", "real")
_TRUTHS = {"true": "true", "false": "false"}


def elements(column: Any) -> TableValuedAlias:
    """Rows (value, type) of a JSON column: one for a scalar, one for each of a list."""
    return func.json_each(column).table_valued("value", "type", joins_implicitly=True).alias()


def under(column: Any, name: str) -> tuple[TableValuedAlias, TableValuedAlias, ColumnElement[bool]]:
    """Rows of a JSON object's value under `name`: (entries, rows, join condition).

    The name is compared with each key, since SQLite cannot quote every name in a JSON path.
    """
    entries = (
        func.json_each(column).table_valued("key", "value", "type", joins_implicitly=True).alias()
    )
    nested = entries.c.type.in_(["array", "object"])
    truth = entries.c.type.in_(list(_TRUTHS))
    whole = case(
        (nested, entries.c.value),
        (truth, entries.c.type),  # SQLite gives a JSON true the value 1
        (entries.c.type == "null", "null"),
        else_=func.json_array(entries.c.value),
    )
    return entries, elements(whole), entries.c.key == name


def answers(column: Any, question: str) -> tuple[TableValuedAlias, TableValuedAlias, Any]:
    """The same for responses, {question: {"value": …}}."""
    entries = func.json_each(column).table_valued("key", "value", joins_implicitly=True).alias()
    rows = (
        func.json_each(entries.c.value, "$.value")
        .table_valued("value", "type", joins_implicitly=True)
        .alias()
    )
    return entries, rows, entries.c.key == question


def matches(rows: TableValuedAlias, wanted: Match) -> ColumnElement[bool]:
    """Whether a row's value is one of the terms or in the range, compared by its type."""
    if isinstance(wanted, RangeFilter):
        return _in_range(rows, wanted)
    texts = [str(value) for value in wanted.values]
    numbers = [number for number in map(_number, texts) if number is not None]
    return or_(
        and_(rows.c.type == "text", rows.c.value.in_(texts)),
        and_(rows.c.type.in_(_NUMBERS), rows.c.value.in_(numbers)),
        rows.c.type.in_([_TRUTHS[text] for text in texts if text in _TRUTHS]),
    )


def _in_range(rows: TableValuedAlias, wanted: RangeFilter) -> ColumnElement[bool]:
    within = between(rows.c.value, _bound(wanted.ge), _bound(wanted.le))
    return and_(rows.c.type.in_(_NUMBERS), within)


def between(column: Any, low: Any, high: Any) -> ColumnElement[bool]:
    """Whether `column` is between two bounds; None is no bound."""
    return and_(
        true(),
        true() if low is None else column >= low,
        true() if high is None else column <= high,
    )


def _bound(value: Any) -> int | float | None:
    number = _number(value)
    if number is None and value is not None:
        raise UnprocessableEntityError(f"{value!r} is not a number")
    return number


def _number(value: Any) -> int | float | None:
    """The number that a term or bound spells, or None; whole numbers stay exact."""
    try:
        number = json.loads(str(value))
    except ValueError:
        return None
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None
