"""One round by several processes: torch's elastic launcher, and what its processes say.

The launcher starts each process in a session of its own, where the end of our process group does
not reach it. So each holds a connection to us: it hears the job and a wish to stop, tells how far
it is, and ends when the connection does.
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
from typing import Any

import torch

from dpo_core.children import NOTICES, Report, restore_error
from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput, ChildFailed, Interrupted, RatchetError
from dpo_core.training.jobs import DpoJob
from dpo_core.training.processes.rank_worker import ADDRESS, END, KEY, STOP

_WORKER = "dpo_core.training.processes.rank_worker"
_SETTLE_S = 2.0
"""After an error that may be another's fault, the time in which the culprit can still be heard."""


def count_processes(config: TrainingConfig) -> int:
    """How many processes train on this machine. Raises BadInput for more than it has GPUs."""
    gpus = torch.cuda.device_count()
    if config.processes == "auto":
        return max(1, gpus)
    if 0 < gpus < config.processes:
        raise BadInput(
            f"training.processes is {config.processes}, but this machine has {gpus} GPUs",
            "Each process needs a GPU of its own: lower it, or say auto.",
        )
    return config.processes


def train_together(job: DpoJob, report: Report) -> dict[str, Any]:
    """`trainer.train_round` by the processes that torchrun starts.

    Raises what any of them raises, ChildFailed where one ends without a word.
    """
    processes = count_processes(job.config)
    together = job.config.torchrun or ["--standalone", "--local-addr=127.0.0.1"]
    options = [f"--nproc-per-node={processes}", *together, "-m", _WORKER]
    with _Ranks(job) as ranks, _sigterm_calls(ranks.stop):
        threading.Thread(target=_launch, args=(options, ranks.events), daemon=True).start()
        return ranks.result(report)


def _launch(options: Sequence[str], events: "queue.Queue[dict[str, Any]]") -> None:
    """Runs in a thread: in the main one torch would take the signals for itself."""
    from torch.distributed.run import parse_args, run

    why = "its processes ended without a result"
    try:
        run(parse_args(list(options)))  # type: ignore[no-untyped-call]
    except BaseException as error:
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    events.put({"event": "launcher ended", "why": why})


class _Ranks:
    """The processes of this machine, as they are heard; a context manager that ends them."""

    def __init__(self, job: DpoJob) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._job = job.model_dump_json().encode()
        key = secrets.token_bytes(32)
        address = f"\0ratchet-{secrets.token_hex(16)}"  # in no folder, so nothing is left behind
        self._listener = Listener(address, authkey=key)
        os.environ[ADDRESS], os.environ[KEY] = address[1:], key.hex()
        self._connections: list[Connection] = []
        self._listening: list[threading.Thread] = []
        self._open = True
        self._told: bytes | None = None
        # Held again by a signal that arrives while it is held.
        self._telling = threading.RLock()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Ask for a checkpoint and an end; one process that hears it tells the others. Those that
        connect later are told as well."""
        self._tell(STOP)

    def end(self) -> None:
        self._open = False
        self._tell(END)

    def result(self, report: Report) -> dict[str, Any]:
        """What the leader returns, when all have ended."""
        result: dict[str, Any] | None = None
        bad: list[dict[str, Any]] = []
        while (event := self.events.get())["event"] != "over":
            match event["event"]:
                case "progress" | "notice":
                    _pass_on(event, report)
                case "result":
                    result = event["result"]
                case "error" | "lost":
                    bad.append(event)
                    self._end_soon(0 if event.get("typed") else _SETTLE_S)
                case "launcher ended":
                    self._hear_out(event["why"])
        if bad:
            raise _cause(bad, stopping=self._told == STOP)
        if result is None:
            raise ChildFailed(f"torchrun could not have the round trained: {event['why']}")
        return result

    def _accept(self) -> None:
        while self._open:
            with suppress(OSError, EOFError, AuthenticationError):
                connection = self._listener.accept()
                listening = threading.Thread(target=self._listen, args=(connection,), daemon=True)
                listening.start()
                with self._telling:
                    self._connections.append(connection)
                    self._listening.append(listening)
                    connection.send_bytes(self._job)
                    if self._told is not None:
                        connection.send_bytes(self._told)

    def _listen(self, connection: Connection) -> None:
        event: dict[str, Any] = {}
        try:
            while event.get("event") not in ("done", "error"):
                event = json.loads(connection.recv_bytes())
                self.events.put(event)
        except (EOFError, OSError):
            if self._open:  # or it was us who ended it
                self.events.put({"event": "lost"})

    def _tell(self, what: bytes) -> None:
        with self._telling:
            self._told = what
            for connection in self._connections:
                with suppress(OSError):
                    connection.send_bytes(what)

    def _end_soon(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self.end)
        timer.daemon = True
        timer.start()

    def _hear_out(self, why: str) -> None:
        """The processes are gone; what they said last may still be on its way."""
        for thread in self._listening:
            thread.join()
        self.events.put({"event": "over", "why": why})

    def __enter__(self) -> "_Ranks":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._listener.close()


def _pass_on(event: dict[str, Any], report: Report) -> None:
    if event["event"] == "notice":
        NOTICES.warning("%s", event["text"])
    else:
        report(event["done"], event["total"], event["unit"])


def _cause(bad: Sequence[dict[str, Any]], *, stopping: bool) -> RatchetError:
    """The error that says most: of processes that fail together, most fail for lack of another.

    stopping: whether they were asked to stop, which ends one that has not begun to train.
    """
    for event in bad:
        if event.get("typed"):
            return restore_error(event)
    lost = any(event["event"] == "lost" for event in bad)
    if lost and stopping:
        return Interrupted(
            "training was asked to stop (SIGTERM) before it had begun",
            "The same `ratchet run` begins it again, or goes on from what was saved before.",
        )
    if lost:
        return ChildFailed(
            "a process of training was ended from outside (often the system ran out of memory)"
        )
    return restore_error(bad[0])


@contextmanager
def _sigterm_calls(stop: Callable[[], None]) -> Iterator[None]:
    def heard(number: int, frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
