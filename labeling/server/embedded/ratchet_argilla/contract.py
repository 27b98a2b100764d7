"""Everything that this package relies on in argilla-server, checked before each start.

Argilla guarantees only the registration of search engines; the rest is internal to version 2.8.0.
Any difference stops the server with a list of the differences.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import argilla_server._app as server
import argilla_server.api.handlers.v1.jobs as job_handlers
import argilla_server.bulk.records_bulk as records_bulk
from argilla_server import models
from argilla_server.api.handlers.v1.datasets import records as record_handlers
from argilla_server.contexts import accounts, distribution, webhooks
from argilla_server.jobs import dataset_jobs, hub_jobs, webhook_jobs
from argilla_server.search_engine import base
from argilla_server.search_engine.commons import BaseElasticAndOpenSearchEngine
from argilla_server.security.authentication.jwt import JWT

SIGNATURES: tuple[tuple[Any, str, str], ...] = (
    (server, "configure_redis", ""),
    (job_handlers, "_get_job", "job_id"),
    (records_bulk, "notify_record_event_v1", "db record_event record"),
    (webhooks, "list_enabled_webhooks", "db"),
    (webhook_jobs, "notify_event", "webhook event timestamp data"),
    (webhook_jobs, "notify_event_job", "webhook_id event timestamp data"),
    (dataset_jobs, "update_dataset_records_status_job", "dataset_id"),
    (hub_jobs, "import_dataset_from_hub_job", "name subset split dataset_id mapping"),
    (hub_jobs, "export_dataset_to_hub_job", "name subset split private token dataset_id"),
    (distribution, "update_record_status", "search_engine record_id"),
    (accounts, "get_user_by_username", "db username"),
    (accounts, "create_workspace", "db workspace_attrs"),
    (accounts, "list_users", "db"),
    (accounts, "update_user", "db user user_attrs"),
    (accounts, "hash_password", "password"),
    (accounts, "verify_password", "password password_hash"),
    (JWT, "decode", "token"),
    (base.SearchEngine, "register", "engine_name"),
    (base.SearchEngine, "get_dataset_progress", "self dataset"),
    (base.SearchEngine, "get_dataset_user_progress", "self dataset user"),
    (base.SearchEngine, "compute_metrics_for", "self metadata_property"),
    # The handlers pass user_id, which only Argilla's own engines declare.
    (
        BaseElasticAndOpenSearchEngine,
        "search",
        "self dataset query filter sort offset limit user_id",
    ),
    (
        base.SearchEngine,
        "similarity_search",
        "self dataset vector_settings value record query filter max_results order threshold",
    ),
)

ABSTRACT = {
    "close",
    "compute_metrics_for",
    "configure_metadata_property",
    "create_index",
    "delete_index",
    "delete_record_response",
    "delete_record_suggestion",
    "delete_records",
    "get_dataset_progress",
    "get_dataset_user_progress",
    "index_records",
    "info",
    "new_instance",
    "partial_record_update",
    "ping",
    "search",
    "similarity_search",
    "update_record_response",
    "update_record_suggestion",
}
"""Abstract methods of a search engine."""

LOOKED_UP: tuple[tuple[Any, str, str], ...] = (
    (server.app_lifespan, "configure_redis", "the start"),
    (job_handlers.get_job, "_get_job", "the job's page"),
    (records_bulk.CreateRecordsBulk.create_records_bulk, "notify_record_event_v1", "logging"),
    (records_bulk.UpsertRecordsBulk._notify_upsert_record_events, "notify_record_event_v1", "…"),
    (record_handlers._get_search_responses, "similarity_search", "search"),
)
"""(function, name, where): the function looks the name up when it runs, so it can be patched."""

COLUMNS: dict[Any, str] = {
    models.Record: "id fields metadata status external_id dataset_id inserted_at updated_at",
    models.Response: "id values status record_id user_id",
    models.Suggestion: "value score agent type record_id question_id",
    models.Question: "id name dataset_id",
    models.Vector: "value record_id vector_settings_id",
    models.User: "username role api_key password_hash",
    models.Webhook: "id enabled",
}

SCOPES: dict[Any, str] = {
    base.RecordFilterScope: "property",
    base.MetadataFilterScope: "metadata_property",
    base.SuggestionFilterScope: "question property",
    base.ResponseFilterScope: "question property user",
    base.TermsFilter: "scope values",
    base.RangeFilter: "scope ge le",
    base.AndFilter: "filters",
    base.Order: "scope order",
}


def check() -> None:
    """Raise RuntimeError with all differences from the expected argilla-server."""
    differing = list(differences())
    if differing:
        raise RuntimeError(
            "this argilla-server differs from the version that Ratchet supports:\n  "
            + "\n  ".join(differing)
        )


def differences() -> Iterator[str]:
    """One sentence per difference from the expected argilla-server."""
    for place, name, parameters in SIGNATURES:
        yield from _signature(place, name, parameters)
    yield from _engine()
    for function, name, where in LOOKED_UP:
        if name not in _names(function):
            yield f"{where} no longer calls {name}"
    yield from _jobs()
    yield from _fields()


def _engine() -> Iterator[str]:
    if base.SearchEngine.__abstractmethods__ != ABSTRACT:
        other = sorted(base.SearchEngine.__abstractmethods__ ^ ABSTRACT)
        yield f"the abstract methods of a search engine differ in: {', '.join(other)}"


def _jobs() -> Iterator[str]:
    for place, name, _ in SIGNATURES:
        job = getattr(place, name, None)
        if name.endswith("_job") and name != "_get_job" and not hasattr(job, "delay"):
            yield f"{name} has no delay"


def _fields() -> Iterator[str]:
    for model, columns in COLUMNS.items():
        for column in sorted(set(columns.split()) - set(model.__table__.columns.keys())):
            yield f"the table {model.__tablename__} has no column {column}"
    for scope, fields in SCOPES.items():
        if list(scope.__dataclass_fields__) != fields.split():
            yield f"{scope.__name__} has the fields {', '.join(scope.__dataclass_fields__)}"


def _signature(place: Any, name: str, parameters: str) -> Iterator[str]:
    function: Callable[..., Any] | None = getattr(place, name, None)
    if function is None:
        yield f"{place.__name__} has no {name}"
        return
    actual = " ".join(inspect.signature(function).parameters)
    if actual != parameters:
        yield f"{place.__name__}.{name} takes ({actual}), not ({parameters})"


def _names(function: Any) -> tuple[str, ...]:
    code = inspect.unwrap(function).__code__
    names: tuple[str, ...] = code.co_names
    return names
