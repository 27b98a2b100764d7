"""The search engine that argilla-server calls, registered under its own name."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

from argilla_server.enums import MetadataPropertyType, SimilarityOrder
from argilla_server.models import (
    Dataset,
    MetadataProperty,
    Record,
    Response,
    User,
    Vector,
    VectorSettings,
)
from argilla_server.search_engine.base import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from argilla_server.settings import settings
from sqlalchemy import ColumnElement, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from ..request import ENGINE
from . import filters, sorting, text
from .values import under

Query: TypeAlias = TextQuery | str | None


def register() -> None:
    SearchEngine.register(ENGINE)(SQLiteSearchEngine)


def _open() -> AsyncEngine:
    """A connection pool of its own: a request holds one of Argilla's connections while it searches,
    so sharing the pool could deadlock."""
    engine = create_async_engine(
        settings.database_url, hide_parameters=True, **settings.database_engine_args
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.create_function(text.FUNCTION, 3, text.contains)
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    return engine


_engine = _open()
_sessions = async_sessionmaker(_engine, expire_on_commit=False)


async def close() -> None:
    """Close the connections."""
    await _engine.dispose()


async def _rows(statement: Any) -> Sequence[Any]:
    async with _sessions() as db:
        return (await db.execute(statement)).all()


class SQLiteSearchEngine(SearchEngine):
    """argilla-server's SearchEngine on Argilla's own tables."""

    @classmethod
    async def new_instance(cls) -> "SQLiteSearchEngine":
        return cls()

    async def close(self) -> None:
        pass

    async def ping(self) -> bool:
        return bool(await _rows(select(1)))

    async def info(self) -> dict[str, object]:
        return {"name": ENGINE, "version": {"number": "1"}}

    # ── no-ops: the tables are the index ─────────────────────────────────────────────────────────

    async def create_index(self, dataset: Dataset) -> None:
        pass

    async def delete_index(self, dataset: Dataset) -> None:
        pass

    async def configure_metadata_property(
        self, dataset: Dataset, metadata_property: MetadataProperty
    ) -> None:
        pass

    async def index_records(self, dataset: Dataset, records: Any) -> None:
        pass

    async def partial_record_update(self, record: Record, **update: Any) -> None:
        pass

    async def delete_records(self, dataset: Dataset, records: Any) -> None:
        pass

    async def update_record_response(self, response: Response) -> None:
        pass

    async def delete_record_response(self, response: Response) -> None:
        pass

    async def update_record_suggestion(self, suggestion: Any) -> None:
        pass

    async def delete_record_suggestion(self, suggestion: Any) -> None:
        pass

    # ── progress ─────────────────────────────────────────────────────────────────────────────────

    async def get_dataset_progress(self, dataset: Dataset) -> dict[str, int]:
        if dataset.is_draft:
            return {}
        return await _counts(Record.status, Record.dataset_id == dataset.id)

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict[str, int]:
        """Number of the user's responses by status."""
        if dataset.is_draft:
            return {}
        return await _counts(
            Response.status,
            Response.record_id == Record.id,
            Record.dataset_id == dataset.id,
            Response.user_id == user.id,
        )

    # ── search ───────────────────────────────────────────────────────────────────────────────────

    async def search(
        self,
        dataset: Dataset,
        query: Query = None,
        filter: Filter | None = None,
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | None = None,
    ) -> SearchResponses:
        """Search records; without `sort` the order is shuffled per user, so that annotators start
        with different records."""
        where = _where(dataset, query, filter)
        if sort:
            order = [sorting.ordering(part) for part in sort]
        else:
            order = sorting.shuffled(user_id) if user_id else []
        page = select(Record.id).where(*where).order_by(*order, Record.inserted_at, Record.id)
        [(total,)] = await _rows(select(func.count()).select_from(Record).where(*where))
        rows = await _rows(page.offset(offset).limit(limit))
        items = [SearchResponseItem(record_id=row.id, score=1.0) for row in rows]
        return SearchResponses(items=items, total=total)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: Query = None,
        filter: Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        """The records nearest to a vector, or to a record's vector, without that record."""
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record")
        probe = value or (record and record.vector_value_by_vector_settings(vector_settings))
        if not probe:
            raise ValueError("Cannot find a vector value to apply with provided info")
        where = [
            *_where(dataset, query, filter),
            Vector.record_id == Record.id,
            Vector.vector_settings_id == vector_settings.id,
        ]
        if record is not None:
            where.append(Record.id != record.id)
        rows = await _rows(select(Record.id, Vector.value).where(*where))
        opposite = order == SimilarityOrder.least_similar
        best = sorting.rank_by_similarity([row.value for row in rows], probe, opposite=opposite)
        items = [
            SearchResponseItem(record_id=rows[place].id, score=score)
            for place, score in best[:max_results]
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(items))

    # ── metadata ─────────────────────────────────────────────────────────────────────────────────

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """The values that a metadata filter offers: terms with counts, or a range."""
        entries, rows, joined = under(Record.metadata_, metadata_property.name)
        where = (Record.dataset_id == metadata_property.dataset_id, joined, rows.c.type != "null")
        value = rows.c.value
        if metadata_property.type == MetadataPropertyType.terms:
            count = func.count()
            counted = select(value, count).select_from(Record, entries, rows).where(*where)
            counts = await _rows(counted.group_by(value).order_by(count.desc(), value))
            terms = [TermsMetrics.TermCount(term=str(term), count=n) for term, n in counts]
            return TermsMetrics(total=sum(n for _, n in counts), values=terms)
        ends = select(func.min(value), func.max(value)).select_from(Record, entries, rows)
        [(low, high)] = await _rows(ends.where(*where))
        whole = metadata_property.type == MetadataPropertyType.integer
        return (IntegerMetadataMetrics if whole else FloatMetadataMetrics)(min=low, max=high)


def _where(dataset: Dataset, query: Query, filter: Filter | None) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [Record.dataset_id == dataset.id]
    if query is not None:
        where.append(text.condition(query))
    if filter is not None:
        where.append(filters.condition(filter))
    return where


async def _counts(status: Any, *where: Any) -> dict[str, int]:
    rows = await _rows(select(status, func.count()).where(*where).group_by(status))
    counts = {str(value): n for value, n in rows}
    return {"total": sum(counts.values()), **counts}
