"""One round by several processes: torch's elastic launcher, and the connections to its processes.

The launcher starts each process in its own session, where the end of our process group does not
reach it. So each holds a connection to us: it receives the job and a request to stop, reports its
progress, and ends when the connection closes.
"""

import json
import os
import queue
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from types import FrameType

import torch

from dpo_core.child_events import ChildEvent, restore_error
from dpo_core.children import NOTICES, Report
from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput, ChildFailed, Interrupted, RatchetError
from dpo_core.training.jobs import DpoJob
from dpo_core.training.processes.rank_worker import ADDRESS, END, KEY, STOP
from dpo_core.training.results import DpoResult

_WORKER = "dpo_core.training.processes.rank_worker"
_SETTLE_S = 2.0
"""Seconds to wait, after an error that another process may have caused, for that one's report."""


def count_processes(config: TrainingConfig) -> int:
    """Number of processes that train on this machine. Raises BadInput for more than its GPUs."""
    gpus = torch.cuda.device_count()
    if config.processes == "auto":
        return max(1, gpus)
    if 0 < gpus < config.processes:
        raise BadInput(
            f"training.processes is {config.processes}, but this machine has {gpus} GPUs",
            "Each process needs its own GPU: lower it, or set it to auto.",
        )
    return config.processes


class _RankEvent(ChildEvent, total=False):
    """Besides what a process sends: `lost`, `launcher ended` and `over`, both with the reason why
    there may be no result."""

    why: str


def train_together(job: DpoJob, report: Report) -> DpoResult:
    """Run `trainer.train_round` in the processes that torchrun starts.

    Raises what any of them raises, and ChildFailed where one ends without a report.
    """
    processes = count_processes(job.config)
    together = job.config.torchrun or ["--standalone", "--local-addr=127.0.0.1"]
    options = [f"--nproc-per-node={processes}", *together, "-m", _WORKER]
    with _Ranks(job) as ranks, _call_on_sigterm(ranks.stop):
        threading.Thread(target=_launch, args=(options, ranks.events), daemon=True).start()
        return ranks.result(report)


def _launch(options: Sequence[str], events: "queue.Queue[_RankEvent]") -> None:
    """Run the launcher in a thread: in the main thread torch would install signal handlers."""
    from torch.distributed.run import parse_args, run

    why = "its processes ended without a result"
    try:
        run(parse_args(list(options)))  # type: ignore[no-untyped-call]
    except BaseException as error:
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    events.put({"event": "launcher ended", "why": why})


class _Ranks:
    """The connections to this machine's processes; a context manager that ends the processes."""

    def __init__(self, job: DpoJob) -> None:
        self.events: queue.Queue[_RankEvent] = queue.Queue()
        self._job = job.model_dump_json().encode()
        key = secrets.token_bytes(32)
        address = f"\0ratchet-{secrets.token_hex(16)}"  # abstract, so no file is left behind
        self._listener = Listener(address, authkey=key)
        os.environ[ADDRESS], os.environ[KEY] = address[1:], key.hex()
        self._connections: list[Connection] = []
        self._listening: list[threading.Thread] = []
        self._open = True
        self._order: bytes | None = None
        # Re-entrant, because a signal may arrive while it is held.
        self._lock = threading.RLock()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Ask for a checkpoint and the end of training, also of processes that connect later."""
        self._send_order(STOP)

    def end(self) -> None:
        """Kill the connected processes."""
        self._open = False
        self._send_order(END)

    def result(self, report: Report) -> DpoResult:
        """Wait until all have ended; returns the leader's result."""
        result: DpoResult | None = None
        failures: list[_RankEvent] = []
        while (event := self.events.get())["event"] != "over":
            match event["event"]:
                case "progress" | "notice":
                    _pass_on(event, report)
                case "result":
                    result = DpoResult.read(event["result"])
                case "error" | "lost":
                    failures.append(event)
                    self._end_soon(0 if event.get("typed") else _SETTLE_S)
                case "launcher ended":
                    self._drain(event["why"])
        if failures:
            raise _root_cause(failures, stopping=self._order == STOP)
        if result is None:
            raise ChildFailed(f"torchrun could not train the round: {event['why']}")
        return result

    def _accept(self) -> None:
        while self._open:
            with suppress(OSError, EOFError, AuthenticationError):
                connection = self._listener.accept()
                listening = threading.Thread(target=self._listen, args=(connection,), daemon=True)
                listening.start()
                with self._lock:
                    self._connections.append(connection)
                    self._listening.append(listening)
                    connection.send_bytes(self._job)
                    if self._order is not None:
                        connection.send_bytes(self._order)

    def _listen(self, connection: Connection) -> None:
        event: _RankEvent = {}
        try:
            while event.get("event") not in ("done", "error"):
                event = json.loads(connection.recv_bytes())
                self.events.put(event)
        except (EOFError, OSError):
            if self._open:  # otherwise we ended it
                self.events.put({"event": "lost"})

    def _send_order(self, order: bytes) -> None:
        with self._lock:
            self._order = order
            for connection in self._connections:
                with suppress(OSError):
                    connection.send_bytes(order)

    def _end_soon(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.end)
        timer.daemon = True
        timer.start()

    def _drain(self, why: str) -> None:
        """Collect the last events of processes that have ended."""
        for thread in self._listening:
            thread.join()
        self.events.put({"event": "over", "why": why})

    def __enter__(self) -> "_Ranks":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._listener.close()


def _pass_on(event: ChildEvent, report: Report) -> None:
    if event["event"] == "notice":
        NOTICES.warning("%s", event["text"])
    else:
        report(event["done"], event["total"], event["unit"])


def _root_cause(failures: Sequence[_RankEvent], *, stopping: bool) -> RatchetError:
    """The most informative error: most processes fail only because another one did.

    stopping: whether they were asked to stop, which kills a process that has not begun to train.
    """
    for event in failures:
        if event.get("typed"):
            return restore_error(event)
    lost = any(event["event"] == "lost" for event in failures)
    if lost and stopping:
        return Interrupted(
            "training was asked to stop (SIGTERM) before it had begun",
            "Run the same `ratchet run` again to start or resume it.",
        )
    if lost:
        return ChildFailed(
            "a training process was killed (often because the system ran out of memory)"
        )
    return restore_error(failures[0])


@contextmanager
def _call_on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
