"""What runs on another machine: the owner of one child process there. Imports no Ray."""

import os
import platform
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.identity import VERSION
from dpo_core.campaign.workers_now import WorkersNow
from dpo_core.child_events import ChildEvent, DescribedError, describe_error
from dpo_core.children import Child
from dpo_core.errors import BadInput
from dpo_core.jobs import JobRequest
from flows.compute.shipping import FilePart, LogPart, NodeCache, Shipment, send_back, unpack

_SEES_FILES_S = 10.0
"""A network file system may show a new file this late."""


@dataclass(frozen=True)
class SharedFolder:
    """Where a campaign is run from, as its nodes must see it too. marker: a file of the campaign
    that names `run`. working: the user's folder, where functions of configs are found. cache: for
    the files of jobs, where the campaign's folder is not shared."""

    marker: Path
    run: str
    working: Path
    cache: NodeCache | None = None


@dataclass(frozen=True)
class StartedChild:
    """How a start went: the GPUs that the child sees, by their numbers, or the error."""

    gpus: tuple[str, ...] = ()
    error: DescribedError | None = None


def describe_versions() -> str:
    """What must be the same on all nodes, besides Ray, which refuses others itself."""
    return f"Ratchet {VERSION}, Python {platform.python_version()}"


class ChildOwner:
    """Owns a child as the orchestrator does on one machine. The child ends with its owner."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._child: Child | None = None
        self._cache: NodeCache | None = None
        self._told = 0
        self._idle = threading.Event()
        self._idle.set()

    def start(
        self, module: str, log: Path, environment: Mapping[str, str], folder: SharedFolder
    ) -> StartedChild:
        """Start the child, once this machine is known to see the campaign's files."""
        try:
            self._check_sees(folder)
            os.chdir(folder.working)
            self._cache = folder.cache
            if folder.cache is not None:
                log = folder.cache.root / "logs" / f"{os.getpid()}-{log.name}"
                self._told = log.stat().st_size if log.exists() else 0
            self._child = Child.start(module, log, environment)
        except Exception as error:
            return StartedChild(error=self._described(error))
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        return StartedChild(tuple(filter(None, gpus)))

    def ask(
        self, request: JobRequest, shipment: Shipment | None = None
    ) -> Iterator[ChildEvent | FilePart | LogPart]:
        """What the child says to a request: progress and notices, then its result or an error.
        Where files are not shared, before the end also its log and what it wrote."""
        events: queue.Queue[ChildEvent] = queue.Queue()
        self._idle.clear()
        words = (request, shipment, events)
        threading.Thread(target=self._forward, args=words, daemon=True).start()
        while (event := events.get())["event"] not in ("result", "error"):
            yield event
        if self._cache is not None and shipment is not None:
            yield self._logged()
            if event["event"] == "result":
                yield from send_back(self._cache, shipment)
        yield event

    def _logged(self) -> LogPart:
        """What the child has logged since this was last asked."""
        assert self._child is not None, "it was started"
        with self._child.log.open("rb") as log:
            log.seek(self._told)
            content = log.read()
        self._told += len(content)
        return LogPart(content)

    def stop(self) -> None:
        """Ask a busy child to save its work and stop, and wait until it has."""
        if self._child is not None and self._child.alive():
            self._child.process.send_signal(signal.SIGTERM)
            self._idle.wait()

    def free_port(self) -> int:
        """A port of this machine that nothing listens at."""
        with socket.socket() as free:
            free.bind(("", 0))
            port: int = free.getsockname()[1]
        return port

    def cpu_seconds(self) -> float:
        return 0.0 if self._child is None else self._child.cpu_seconds()

    def close(self) -> float:
        """End the child and wait for it. Returns its CPU seconds."""
        if self._child is None:
            return 0.0
        self._child.close()
        return self._child.cpu_seconds()

    def _forward(
        self,
        request: JobRequest,
        shipment: Shipment | None,
        events: "queue.Queue[ChildEvent]",
    ) -> None:
        assert self._child is not None, "it was started"
        try:
            if self._cache is not None and shipment is not None:
                request = unpack(self._cache, shipment, request)
            result = self._child.ask(
                request,
                lambda d, t, u: events.put({"event": "progress", "done": d, "total": t, "unit": u}),
                lambda text: events.put({"event": "notice", "text": text}),
            )
            last: ChildEvent = {"event": "result", "result": result}
        except Exception as error:
            described = self._described(error)
            last = {"event": "error", **described}  # type: ignore[typeddict-item]
        self._idle.set()
        events.put(last)

    def _described(self, error: Exception) -> DescribedError:
        described = describe_error(error)
        if described["kind"] == "died":
            described["message"] = f"on node {self._node}, {described['message']}"
        return described

    def _check_sees(self, folder: SharedFolder) -> None:
        until = time.monotonic() + _SEES_FILES_S
        while folder.cache is None and (
            (now := WorkersNow.read(folder.marker)) is None or now.run != folder.run
        ):
            if time.monotonic() > until:
                raise BadInput(
                    f"node {self._node} of the cluster does not see the campaign's folder "
                    f"{folder.marker.parent}",
                    "Put the campaign, with --campaign-dir, in a folder that all nodes share under "
                    "the same path, or set storage.url and compute.cache_dir.",
                )
            time.sleep(0.1)
        if not folder.working.is_dir():
            raise BadInput(
                f"node {self._node} of the cluster does not see the folder {folder.working}, "
                "which the campaign is run from",
                "Run it from a folder that all nodes share under the same path.",
            )
