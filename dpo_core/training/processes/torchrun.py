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
from dpo_core.errors import BadInput, ChildDied, ChildFailed, Interrupted, RatchetError
from dpo_core.jobs import JobResult
from dpo_core.training.jobs import DpoJob, JoinJob
from dpo_core.training.processes.rank_worker import ADDRESS, END, KEY, STOP
from dpo_core.training.results import DpoResult

_WORKER = "dpo_core.training.processes.rank_worker"
_NO_RESULT = "its processes ended without a result"
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
    """Besides what a process sends: `lost`, `launcher ended` and `over`, both with why the launcher
    failed, and whether a signal had ended one of its processes."""

    why: str
    killed: bool


def train_together(job: DpoJob, report: Report) -> DpoResult:
    """Run `trainer.train_round` in the processes that torchrun starts.

    Raises what any of them raises, and ChildDied where one ends without a report.
    """
    result, why = _run(job.config, job, report)
    if result is None:
        raise ChildFailed(f"torchrun could not train the round: {why or _NO_RESULT}")
    return result


def join_others(job: JoinJob, report: Report) -> JobResult:
    """Run this machine's processes of a round that another machine leads; errors as above."""
    _, why = _run(job.config, job, report)
    if why:
        raise ChildFailed(f"torchrun could not join the round: {why}")
    return JobResult()


def _run(
    config: TrainingConfig, job: DpoJob | JoinJob, report: Report
) -> tuple[DpoResult | None, str]:
    """The leader's result, and why the launcher failed, if it did."""
    processes = count_processes(config)
    together = config.torchrun or ["--standalone", "--local-addr=127.0.0.1"]
    options = [f"--nproc-per-node={processes}", *together, "-m", _WORKER]
    with _Ranks(job) as ranks, _call_on_sigterm(ranks.stop):
        threading.Thread(target=_launch, args=(options, ranks.events), daemon=True).start()
        return ranks.result(report)


def _launch(options: Sequence[str], events: "queue.Queue[_RankEvent]") -> None:
    """Run the launcher in a thread: in the main thread torch would install signal handlers."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    why, killed = "", False
    try:
        run(parse_args(list(options)))  # type: ignore[no-untyped-call]
    except BaseException as error:
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        # Not those that the launcher ended itself, because of these.
        failures = error.failures.values() if isinstance(error, ChildFailedError) else ()
        killed = any(failure.exitcode < 0 for failure in failures)
    events.put({"event": "launcher ended", "why": why, "killed": killed})


class _Ranks:
    """The connections to this machine's processes; a context manager that ends the processes."""

    def __init__(self, job: DpoJob | JoinJob) -> None:
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

    def result(self, report: Report) -> tuple[DpoResult | None, str]:
        """Wait until all have ended. Returns the leader's result, if it is one of them, and why the
        launcher failed, if it did."""
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
                    self._drain(event)
        if failures:
            stopping = self._order == STOP
            raise _root_cause(failures, stopping=stopping, killed=event["killed"])
        return result, event["why"]

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

    def _drain(self, ended: _RankEvent) -> None:
        """Collect the last events of processes that have ended."""
        for thread in self._listening:
            thread.join()
        self.events.put({**ended, "event": "over"})

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


def _root_cause(failures: Sequence[_RankEvent], *, stopping: bool, killed: bool) -> RatchetError:
    """The most informative error: most processes fail only because another one did.

    stopping: whether they were asked to stop, which kills a process that has not begun to train.
    killed: whether a signal that was not the launcher's ended one; it ends those that are left.
    """
    for event in failures:
        if event.get("typed"):
            return restore_error(event)
    errors = [event for event in failures if event["event"] == "error"]
    lost = len(errors) < len(failures) and (killed or not errors)
    if lost and stopping:
        return Interrupted(
            "training was asked to stop (SIGTERM) before it had begun",
            "Run the same `ratchet run` again to start or resume it.",
        )
    if lost:
        return ChildDied(
            "a training process was killed (often because the system ran out of memory)"
        )
    return restore_error(errors[0])


@contextmanager
def _call_on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
