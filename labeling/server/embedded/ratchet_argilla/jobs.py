"""argilla-server's background jobs as tasks of its own process, kept on disk until done.

Jobs unfinished when the server stops or is killed run at the next start. A job that must not run
twice is only named in the log.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

_LOG = logging.getLogger("ratchet_argilla.jobs")
_REMEMBERED = 1_000


@dataclass(frozen=True)
class Job:
    run: Callable[..., Awaitable[object]]
    waits_s: tuple[float, ...]
    """Wait before each retry."""
    repeatable: bool
    """Whether an interrupted job may run again from the start."""


@dataclass
class Handle:
    """The part of an RQ job that argilla-server uses."""

    id: str
    status: str = "queued"

    def get_status(self, refresh: bool = True) -> str:
        return self.status


class Runner:
    """Runs jobs; those of the same name one after another, as a worker does."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.handles: dict[str, Handle] = {}
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def offer(self, name: str, job: Job) -> Callable[..., Handle]:
        """Register a job; returns the function that starts it, in place of RQ's `delay`."""
        self._jobs[name] = job

        def delay(*args: object, **kwargs: object) -> Handle:
            handle = Handle(str(uuid4()))
            keep = (args, kwargs) if job.repeatable else ((), {})
            self._write(handle.id, name, *keep)
            self._start(handle, name, partial(job.run, *args, **kwargs))
            return handle

        return delay

    def resume(self) -> None:
        """Start the jobs that an earlier server did not finish."""
        self.journal.mkdir(exist_ok=True)
        for path in sorted(self.journal.glob("*.json"), key=lambda path: path.stat().st_mtime):
            entry = json.loads(path.read_text(encoding="utf-8"))
            name = entry["job"]
            if name in self._jobs and self._jobs[name].repeatable:
                kwargs = {key: _decode(value) for key, value in entry["kwargs"].items()}
                run = partial(self._jobs[name].run, *map(_decode, entry["args"]), **kwargs)
                self._start(Handle(path.stem), name, run)
            else:
                _LOG.warning("%s was interrupted when the server stopped: start it again", name)
                path.unlink()

    async def close(self) -> None:
        """Cancel running jobs; those on disk run at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, handle: Handle, name: str, run: Callable[[], Awaitable[object]]) -> None:
        self.handles[handle.id] = handle
        while len(self.handles) > _REMEMBERED:
            del self.handles[next(iter(self.handles))]
        task = asyncio.get_running_loop().create_task(self._run(handle, name, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handle: Handle, name: str, run: Callable[[], Awaitable[object]]) -> None:
        for wait_s in (*self._jobs[name].waits_s, None):
            try:
                async with self._turns[name]:
                    handle.status = "started"
                    await run()
                handle.status = "finished"
                break
            except Exception as error:
                handle.status = "failed" if wait_s is None else "scheduled"
                again = "" if wait_s is None else f", again in {wait_s:.0f} s"
                _LOG.warning("%s failed (%s)%s", name, type(error).__name__, again)
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        self._path(handle.id).unlink(missing_ok=True)

    def _write(
        self, id: str, name: str, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        entry = {
            "job": name,
            "args": [_encode(value) for value in args],
            "kwargs": {key: _encode(value) for key, value in kwargs.items()},
        }
        path = self._path(id)
        beside = path.with_suffix(".tmp")
        beside.write_text(json.dumps(entry), encoding="utf-8")
        beside.replace(path)

    def _path(self, id: str) -> Path:
        return self.journal / f"{id}.json"


def _encode(value: object) -> dict[str, object]:
    if isinstance(value, UUID):
        return {"uuid": str(value)}
    if isinstance(value, datetime):
        return {"datetime": value.isoformat()}
    return {"json": value}


def _decode(entry: dict[str, Any]) -> Any:
    if "uuid" in entry:
        return UUID(entry["uuid"])
    if "datetime" in entry:
        return datetime.fromisoformat(entry["datetime"])
    return entry["json"]
