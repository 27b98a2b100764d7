"""Everything that is patched in argilla-server; `contract` checks each point first."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import argilla_server._app as server
import argilla_server.api.handlers.v1.jobs as job_handlers
import argilla_server.bulk.records_bulk as records_bulk
from argilla_server.contexts import webhooks
from argilla_server.database import AsyncSessionLocal, async_engine, sync_engine
from argilla_server.jobs import dataset_jobs, hub_jobs, webhook_jobs
from argilla_server.models import Webhook
from fastapi import HTTPException

from .jobs import Handle, Job, Runner


def apply(runner: Runner) -> None:
    _run_jobs_here(runner)
    _need_no_redis(runner)
    _keep_values_out_of_logs()
    _build_events_only_if_heard()


def _run_jobs_here(runner: Runner) -> None:
    """Run jobs as tasks of this process's loop; RQ's synchronous mode fails in a running loop."""
    soon = (1.0, 1.0, 1.0)
    jobs = (
        (webhook_jobs.notify_event_job, Job(_notify, (10.0, 60.0, 180.0), repeatable=True)),
        (
            dataset_jobs.update_dataset_records_status_job,
            Job(dataset_jobs.update_dataset_records_status_job, soon, repeatable=True),
        ),
        # They may be half done, and one gets a token that must not be written to disk.
        (
            hub_jobs.import_dataset_from_hub_job,
            Job(hub_jobs.import_dataset_from_hub_job, (), repeatable=False),
        ),
        (
            hub_jobs.export_dataset_to_hub_job,
            Job(hub_jobs.export_dataset_to_hub_job, (), repeatable=False),
        ),
    )
    for function, job in jobs:
        function.delay = runner.offer(function.__name__, job)


async def _notify(webhook_id: UUID, event: str, timestamp: datetime, data: object) -> None:
    """`notify_event_job` with its request in a thread, since the original blocks the loop."""
    async with AsyncSessionLocal() as db:
        webhook = await Webhook.get(db, webhook_id)
    if webhook is not None and webhook.enabled:
        notify = webhook_jobs.notify_event
        response = await asyncio.to_thread(notify, webhook, event, timestamp, data)
        response.raise_for_status()


def _need_no_redis(runner: Runner) -> None:
    def find(job_id: str) -> Handle:
        handle = runner.handles.get(job_id)
        if handle is None:
            raise HTTPException(404, f"Job with id `{job_id}` not found")
        return handle

    server.configure_redis = lambda: None  # pings it before the app starts
    job_handlers._get_job = find


def _keep_values_out_of_logs() -> None:
    """Hide the values of failed statements in logs: they may be keys and password hashes."""
    async_engine.sync_engine.hide_parameters = True
    sync_engine.hide_parameters = True


def _build_events_only_if_heard() -> None:
    """Build a record's event only for enabled webhooks: logging records is 3 times as fast."""
    notify = records_bulk.notify_record_event_v1

    async def notify_if_heard(db: Any, event: Any, record: Any) -> Any:
        return await notify(db, event, record) if await webhooks.list_enabled_webhooks(db) else []

    records_bulk.notify_record_event_v1 = notify_if_heard
