"""Orders of records. Records without a value come last in either direction."""

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from argilla_server.enums import SortOrder
from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine.base import (
    MetadataFilterScope,
    Order,
    RecordFilterScope,
    SuggestionFilterScope,
)
from sqlalchemy import ColumnElement, String, cast, func, select

from .values import answers, elements, under

_HEX_DIGITS = 32
_FIXED = (13, 17)  # the version and variant digits of a random UUID, nearly the same in all
_DIGITS_OF_ORDER = 8


def ordering(order: Order) -> ColumnElement[Any]:
    """A sort expression; of several values of one record the least counts, or the greatest when
    descending."""
    descending = str(order.order) == SortOrder.desc
    best = func.max if descending else func.min
    scope = order.scope
    if isinstance(scope, RecordFilterScope):
        value: Any = getattr(Record, str(scope.property))
    elif isinstance(scope, MetadataFilterScope):
        entries, rows, joined = under(Record.metadata_, scope.metadata_property)
        value = select(best(rows.c.value)).select_from(entries, rows).where(joined)
    elif isinstance(scope, SuggestionFilterScope):
        value = _of_suggestion(scope, best)
    else:
        value = _of_responses(scope, best)
    if not isinstance(scope, RecordFilterScope):
        value = value.correlate(Record).scalar_subquery()
    return (value.desc() if descending else value.asc()).nulls_last()


def _of_suggestion(scope: SuggestionFilterScope, best: Any) -> Any:
    name = str(scope.property)
    here = [
        Suggestion.record_id == Record.id,
        Suggestion.question_id == Question.id,
        Question.name == scope.question,
    ]
    if name in ("value", "score"):
        rows = elements(getattr(Suggestion, name))
        return select(best(rows.c.value)).select_from(Suggestion, Question, rows).where(*here)
    column = cast(getattr(Suggestion, name), String)
    return select(best(column)).select_from(Suggestion, Question).where(*here)


def _of_responses(scope: Any, best: Any) -> Any:
    """A sort expression for responses; several numbers count by their mean, as in Elasticsearch."""
    here = [Response.record_id == Record.id]
    if scope.user is not None:
        here.append(Response.user_id == scope.user.id)
    if not scope.question:
        return select(best(cast(Response.status, String))).select_from(Response).where(*here)
    entries, rows, joined = answers(Response.values, scope.question)
    number = func.avg(rows.c.value).filter(rows.c.type.in_(["integer", "real"]))
    return (
        select(func.coalesce(number, best(rows.c.value)))
        .select_from(Response, entries, rows)
        .where(*here, joined)
    )


def shuffled(user_id: UUID) -> list[ColumnElement[Any]]:
    """A fixed random order per user: eight digits of the random record ids."""
    places = [place for place in range(1, _HEX_DIGITS + 1) if place not in _FIXED]
    chosen = random.Random(user_id.int).sample(places, _DIGITS_OF_ORDER)
    return [func.substr(cast(Record.id, String), place, 1) for place in chosen]


def rank_by_similarity(
    vectors: Sequence[Sequence[float]], probe: Sequence[float], *, opposite: bool
) -> list[tuple[int, float]]:
    """(position, score) of each vector, the most similar to `probe` or its opposite first.

    Scores are (1 + cosine) / 2, as in Elasticsearch; the cosine with a zero vector is 0. Compares
    every vector, which is fast enough for the thousands in a campaign's round.
    """
    if not vectors:
        return []
    matrix_RD: Any = np.asarray(vectors, dtype=float)
    probe_D: Any = np.asarray(probe, dtype=float) * (-1.0 if opposite else 1.0)
    norms_R = np.linalg.norm(matrix_RD, axis=1) * np.linalg.norm(probe_D)
    cosines_R = np.divide(
        matrix_RD @ probe_D, norms_R, out=np.zeros_like(norms_R), where=norms_R > 0
    )
    scores_R = (1.0 + cosines_R) / 2.0
    order = np.argsort(-scores_R, kind="stable")
    return [(int(place), float(scores_R[place])) for place in order]
