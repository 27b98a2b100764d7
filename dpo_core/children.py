"""Child processes that own a device. Sampling and training run in one, never in the orchestrator.

Parent and child exchange JSON lines: requests through the child's standard input, events through a
pipe of their own, so output of libraries goes to a log file. No child outlives its parent: when the
parent ends in any way, standard input closes and the child ends its whole process group.
"""

import json
import logging
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Unpack

from dpo_core import collector
from dpo_core.child_events import ChildEvent, describe_error, pass_on
from dpo_core.cpu_time import cpu_seconds
from dpo_core.errors import (
    ChildDied,
    Interrupted,
    InvariantViolated,
    RatchetError,
)
from dpo_core.jobs import AnyJob, ChildJob, JobResult, Kinds, Result, job_request, read_request
from dpo_core.preloaded import Forked, fork

Report = Callable[[int, int, str], None]
"""Progress callback: report(done, total, unit)."""

NOTICES = logging.getLogger("dpo_core.notices")
"""Messages that people should see at once. A child forwards them to its parent and its log."""

SILENT = {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",  # `ray start` reports that it is off
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_ERROR_REPORTING": "false",
}
"""Variables that keep libraries from telling their makers how they are used, unless the user has
set them otherwise."""

_EVENTS_FD = "RATCHET_EVENTS_FD"
_LOG_TAIL_LINES = 12
RESUME = "Finished steps are kept: run the same `ratchet run` again to resume."
"""What to do after a child died."""


# ── in the child ─────────────────────────────────────────────────────────────────────────────────


_requests: queue.Queue[dict[str, Any]] = queue.Queue()


def run_module(module: str) -> None:
    """Run `module`, which calls `serve`, as this process's main module.

    The pipe is watched before the module's imports begin: they take seconds, and the child must not
    outlive its parent by that long.
    """
    threading.Thread(target=_read_requests, daemon=True).start()
    collector.begin_imports()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve(handle: Callable[[dict[str, Any], Report], Mapping[str, object]]) -> None:
    """Answer the parent's requests until it closes the pipe, which ends the process group."""
    collector.end_imports()
    events_fd = int(os.environ[_EVENTS_FD])
    os.set_inheritable(events_fd, False)  # processes it starts would keep the pipe open
    events = os.fdopen(events_fd, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe

    def send(**event: Unpack[ChildEvent]) -> None:
        events.write(json.dumps(event) + "\n")

    forward_notices(lambda text: send(event="notice", text=text))
    NOTICES.addHandler(logging.StreamHandler())  # to the log
    send(event="ready")
    while True:
        request = _requests.get()
        try:
            result = handle(
                request, lambda d, t, u: send(event="progress", done=d, total=t, unit=u)
            )
            send(event="result", result=dict(result))
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            send(event="error", **describe_error(error))


def serve_jobs(
    kinds: Kinds[AnyJob],
    carry_out: Callable[[AnyJob, Report], JobResult],
    count_gpus: Callable[[], int] | None = None,
) -> None:
    """Carry out the parent's jobs, of these kinds, until it closes the pipe.

    count_gpus: of this machine; results then say how many of them the process holds for the job.
    """

    def handle(request: dict[str, Any], report: Report) -> Mapping[str, object]:
        job = read_request(request, kinds)
        result = carry_out(job, report)
        if count_gpus is not None and job.devices:
            gpus = count_gpus()
            held = gpus if job.devices == "all" or not gpus else job.devices
            result = result.model_copy(update={"gpus": held})
        return result.as_answer()

    serve(handle)


def forward_notices(send: Callable[[str], None]) -> None:
    """From now on pass this process's notices to `send`."""
    NOTICES.addHandler(_Forward(send))


class _Forward(logging.Handler):
    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(record.getMessage())


def _read_requests() -> None:
    for line in sys.stdin:
        _requests.put(json.loads(line))
    os.killpg(os.getpgrp(), signal.SIGKILL)


# ── in the parent ────────────────────────────────────────────────────────────────────────────────


def child_environment(threads: int) -> dict[str, str]:
    """Environment variables for sampling and training. Those already set keep their values."""
    defaults = {
        # Threads that spin while they wait starve each other on a shared machine (ADR 0006).
        "OMP_WAIT_POLICY": "PASSIVE",
        # Buffers in huge pages, where Linux lets programs choose: a tenth faster on CPU.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
    chosen = {name: os.environ.get(name, default) for name, default in defaults.items()}
    return {**chosen, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}


class Child:
    """A running child process. As a context manager it ends the child's process group on exit.

    gpus: number of GPUs it holds from `first_gpu` on, as of the last result that named it. started,
    ended: on the monotonic clock; `ended` is None while it runs. node: empty, for this machine.
    """

    node = ""

    def __init__(
        self,
        module: str,
        log: Path,
        env: Mapping[str, str],
        command: list[str],
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        """`pass_fds` stay open in the child, such as a lock that it holds while it lives."""
        self.module = module
        self.log = log
        read_fd, write_fd = os.pipe()
        self.gpus = self.first_gpu = 0
        self.started = time.monotonic()
        self.ended: float | None = None
        self._cpu_seconds = 0.0
        self._failed = False
        log.parent.mkdir(parents=True, exist_ok=True)
        env = {**SILENT, **os.environ, **env}
        with log.open("ab") as log_file:
            process: subprocess.Popen[str] | Forked | None = None
            if command == _command(module):
                process = fork(module, env, log_file, {_EVENTS_FD: write_fd})
            self.process = process or subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                pass_fds=(write_fd, *pass_fds),
                env={**env, _EVENTS_FD: str(write_fd)},
                start_new_session=True,
                text=True,
            )
        os.close(write_fd)
        self._events = os.fdopen(read_fd)
        try:
            self._await("ready")
        except BaseException:
            self.close()
            raise
        self.seconds_start = time.monotonic() - self.started

    @classmethod
    def start(cls, module: str, log: Path, env: Mapping[str, str] | None = None) -> "Child":
        """Run `python -m module` as a child. Raises ChildDied if it ends before it is ready."""
        return cls(module, log, env or {}, _command(module))

    def carry_out(
        self,
        job: ChildJob[Result],
        root: Path = Path("/"),
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> Result:
        """Let the child carry out a job whose files lie below `root`; errors as `ask` raises."""
        return job.read_result(self.ask(job_request(job, root), report, notice))

    def ask(
        self,
        request: Mapping[str, object],
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Send one request and return its result, passing on progress and notices.

        A child that failed a request must not be asked again: device memory or half an engine left
        from it may fail the next one too.

        Raises:
            ChildFailed, DiskFull, Interrupted, BadInput: as the child reports.
            ChildDied: the child ended without a result.
            InvariantViolated: an earlier request failed.
        """
        if self._failed and self.alive():
            raise InvariantViolated(f"{self.module} was sent a request after one that failed")
        try:
            result = self._ask(request, report, notice)["result"]
        except Interrupted:  # it stopped when asked to
            raise
        except Exception:
            self._failed = True
            raise
        self.gpus = result.get("gpus", self.gpus)
        return result

    def usable(self) -> bool:
        """Whether it lives and no request failed."""
        return not self._failed and self.alive()

    def _ask(
        self,
        request: Mapping[str, object],
        report: Report | None,
        notice: Callable[[str], None] | None,
    ) -> ChildEvent:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.died() from None
        return self._await("result", report, notice)

    def stop(self) -> None:
        """Ask a busy child to save its work and stop, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(RatchetError):
            self._await("result")

    def _await(
        self,
        awaited: str,
        report: Report | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> ChildEvent:
        for event in self._read_events():
            if event["event"] == awaited:
                return event
            pass_on(event, self.log, report, notice)
        raise self.died()

    def _read_events(self) -> Iterator[ChildEvent]:
        for line in self._events:
            if line.endswith("\n"):  # a child that is killed may leave half an event
                yield json.loads(line)

    def died(self) -> ChildDied:
        """The error for a child that ended: how it ended, with the end of its log."""
        code = self.process.wait()
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"exited with code {code}"
        )
        hint = " (often because the system ran out of memory)" if code == -signal.SIGKILL else ""
        return ChildDied(
            f"the child process {self.module} {how}{hint}; "
            f"the end of {self.log}:\n{log_tail(self.log)}",
            RESUME,
        )

    def alive(self) -> bool:
        if isinstance(self.process, Forked):
            return self.process.alive()
        # Not poll(): a Ctrl-C inside it leaves its lock held, and close() would wait forever.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.process.pid, options) is None
        except ChildProcessError:  # it was waited for already
            return False

    def cpu_seconds(self) -> float:
        """CPU seconds of the child and its descendants, until now or until it was closed."""
        if self.ended is None:
            self._cpu_seconds = max(self._cpu_seconds, cpu_seconds(self.process.pid))
        return self._cpu_seconds

    def close(self) -> None:
        """End the child's process group and wait for it."""
        if self.ended is None:
            self.cpu_seconds()  # unknown once it was waited for
            self.ended = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self._events):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def log_tail(log: Path) -> str:
    """The last lines of a child's log, indented."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:])


def _command(module: str) -> list[str]:
    return [sys.executable, "-m", __name__, module]


if __name__ == "__main__":
    # The requests live in the module as others import it, not in `__main__`.
    from dpo_core.children import run_module as run

    run(sys.argv[1])
