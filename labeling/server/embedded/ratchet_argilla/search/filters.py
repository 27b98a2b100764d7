"""Filters as conditions on records, one function for each scope."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from argilla_server.enums import RecordStatus, ResponseStatus
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    MetadataFilterScope,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)
from sqlalchemy import ColumnElement, String, and_, cast, exists, not_, or_, true

from .values import Match, answers, between, elements, matches, under

Condition = ColumnElement[bool]


def condition(wanted: Filter) -> Condition:
    """`wanted` as a condition on records. Raises UnprocessableEntityError for an unknown scope."""
    if isinstance(wanted, AndFilter):
        return and_(true(), *[condition(part) for part in wanted.filters])
    for scope, build in _BY_SCOPE.items():
        if isinstance(wanted.scope, scope):
            return build(wanted)
    raise UnprocessableEntityError(f"cannot filter by {wanted.scope}")


def _record(wanted: Match) -> Condition:
    name = str(wanted.scope.property)
    column = getattr(Record, name)
    if isinstance(wanted, TermsFilter):
        values = [_term(name, value) for value in wanted.values]
        return column.in_([value for value in values if value is not None])
    if name in ("inserted_at", "updated_at"):
        return between(column, _moment(wanted.ge), _moment(wanted.le, last=True))
    return between(cast(column, String), _text(name, wanted.ge), _text(name, wanted.le))


def _term(name: str, value: Any) -> Any:
    """`value` as stored in the column; None for a value that no record can have."""
    try:
        if name == "id":
            return UUID(str(value))
        if name == "status":
            return RecordStatus(str(value))
    except ValueError:
        return None
    return _moment(value) if name in ("inserted_at", "updated_at") else str(value)


def _text(name: str, value: Any) -> str | None:
    """A bound of a text range; the table stores ids without hyphens."""
    if value is None:
        return None
    return str(value).replace("-", "") if name == "id" else str(value)


def _moment(value: Any, *, last: bool = False) -> datetime | None:
    """A time in UTC, naive as in the columns, from ISO text or milliseconds since 1970.

    With `last`, a date without time means the end of the day.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int | float):
            moment = datetime.fromtimestamp(value / 1000, UTC)
        else:
            moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        message = f"{value!r} is not a date: write 2025-01-31T12:00:00"
        raise UnprocessableEntityError(message) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    if last and isinstance(value, str) and len(value) == len("2025-01-31"):
        moment += timedelta(days=1, microseconds=-1)
    return moment


def _metadata(wanted: Match) -> Condition:
    entries, rows, joined = under(Record.metadata_, wanted.scope.metadata_property)
    return exists().select_from(entries, rows).where(joined, matches(rows, wanted))


def _suggestion(wanted: Match) -> Condition:
    here = [
        Suggestion.record_id == Record.id,
        Suggestion.question_id == Question.id,
        Question.name == wanted.scope.question,
    ]
    name = str(wanted.scope.property)
    if name in ("value", "score"):
        rows = elements(getattr(Suggestion, name))
        return exists().select_from(Suggestion, Question, rows).where(*here, matches(rows, wanted))
    if not isinstance(wanted, TermsFilter):
        raise UnprocessableEntityError(f"a suggestion's {name} has no range")
    texts = [str(value) for value in wanted.values]
    column = getattr(Suggestion, name)
    return exists().select_from(Suggestion, Question).where(*here, column.in_(texts))


def _response(wanted: Match) -> Condition:
    scope = wanted.scope
    here = [Response.record_id == Record.id]
    if scope.user is not None:
        here.append(Response.user_id == scope.user.id)
    if scope.question:
        entries, rows, joined = answers(Response.values, scope.question)
        return (
            exists().select_from(Response, entries, rows)
            .where(*here, joined, matches(rows, wanted))
        )  # fmt: skip
    if scope.property != "status" or not isinstance(wanted, TermsFilter):
        raise UnprocessableEntityError(f"responses cannot be filtered by {scope.property}")
    return _response_status(here, {str(value) for value in wanted.values})


def _response_status(here: list[Condition], wanted: set[str]) -> Condition:
    """Filter by response status; `pending` means no response, not even a draft."""
    statuses = [status for status in ResponseStatus if status.value in wanted]
    responded = exists().select_from(Response).where(*here, Response.status.in_(statuses))
    if "pending" not in wanted:
        return responded
    return or_(not_(exists().select_from(Response).where(*here)), responded)


_BY_SCOPE: dict[type, Callable[[Any], Condition]] = {
    RecordFilterScope: _record,
    MetadataFilterScope: _metadata,
    SuggestionFilterScope: _suggestion,
    ResponseFilterScope: _response,
}
