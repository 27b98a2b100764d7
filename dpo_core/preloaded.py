"""A fork server: processes that need not import torch are forked from one that has.

Importing torch and transformers takes three CPU-seconds; a fork takes a hundredth of one and shares
the memory. Where short campaigns run one after another on a CPU, as in tests, start

    python -m dpo_core.preloaded SOCKET MODULE…

once. It imports the modules; every process that dpo_core.children starts is then a fork of it, if
its environment has RATCHET_PRELOADED=SOCKET. It ends when its standard input closes.

A MODULE that reads environment variables on import, and can read them again, lists them in
READ_AGAIN and has a function read_again(module), which a forked process calls before `module`.

For Linux without a GPU only: a process that uses CUDA cannot be forked.
"""

import ctypes
import importlib
import json
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, NotRequired, TypedDict

from dpo_core import collector

SOCKET = "RATCHET_PRELOADED"
_IN_STEAD = "RATCHET_IN_ANOTHERS_STEAD"
_ROOM = "RATCHET_ROOM_FOR_VARIABLES"
# Libraries read these on import, so a process with other values is not forked.
_READ_AT_IMPORT = re.compile(
    "ATEN_|CUDA_|HF_|LD_PRELOAD|MKL_|OMP_NUM_THREADS|PREFECT_|PYTHONHASHSEED|TORCHDYNAMO_|TORCH_|"
    "TRANSFORMERS_"
)
_READ_LATER = ("CUDA_DEVICE_ORDER", "TORCH_NCCL_")
_HEADER_BYTES = 8
_MOST_FDS = 16


class _Request(TypedDict):
    """What to run, as which process. passed: variables that get the numbers of open files.
    arguments: of a command; without them it is a child."""

    module: str
    env: dict[str, str]
    cwd: str
    passed: list[str]
    arguments: NotRequired[list[str]]


# ── in the process that starts others ────────────────────────────────────────────────────────────


class Forked:
    """A forked process, with the part of subprocess.Popen's interface that children need."""

    def __init__(self, connection: socket.socket, pid: int, stdin: IO[str]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None
        self._connection = connection

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code, or minus the signal that killed it. Raises TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            code = self._connection.recv(_HEADER_BYTES)
            # Empty where the fork server was killed, and this process with it.
            self.returncode = int(code) if code else -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def alive(self) -> bool:
        if self.returncode is not None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            return not selector.select(timeout=0)

    def send_signal(self, number: int) -> None:
        if self.alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(
    module: str, env: Mapping[str, str], output: IO[bytes], passed: Mapping[str, int]
) -> Forked | None:
    """Fork `python -m dpo_core.children module`; None where it must be started as usual.

    passed: environment variable → open file; the process finds the file's number in the variable.
    """
    if not env.get(SOCKET):
        return None
    request = _Request(module=module, env=dict(env), cwd=os.getcwd(), passed=list(passed))
    return _fork(env[SOCKET], request, [output.fileno(), output.fileno(), *passed.values()])


def run_command(
    path: str | None,
    words: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    timeout_s: float | None,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m WORD…` in a folder and wait until it ends.

    path: socket of a fork server; without one the command is started as usual.
    """
    module, *arguments = words
    request = _Request(module=module, env={**env}, cwd=str(folder), passed=[], arguments=arguments)
    with TemporaryFile() as output, TemporaryFile() as errors:
        files = [output.fileno(), errors.fileno()]
        process = _fork(path, request, files) if path else None
        if process is None:
            command = [sys.executable, "-m", *words]
            return subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout_s
            )
        process.stdin.close()
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(
            words, code, output.read().decode(), errors.read().decode()
        )


def _fork(path: str, request: _Request, files: Sequence[int]) -> Forked | None:
    """files: the process's standard output, standard error, and others that stay open in it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    reads, writes = os.pipe()
    payload = json.dumps(request).encode()
    try:
        connection.connect(path)
        header = f"{len(payload):0{_HEADER_BYTES}d}".encode()
        socket.send_fds(connection, [header], [reads, *files])
        connection.sendall(payload)
        pid = int(connection.recv(_HEADER_BYTES) or 0)
    except OSError:  # the server has not started yet, or has ended
        pid = 0
    finally:
        os.close(reads)
    if not pid:
        connection.close()
        os.close(writes)
        return None
    return Forked(connection, pid, os.fdopen(writes, "w"))


def run_forked(module: str) -> int | None:
    """Let a fork run `module` in place of this process, which another program started.

    The fork receives this process's SIGTERM and ends with it. Returns the fork's exit code, or None
    where this process must run the module itself.
    """
    if _IN_STEAD in os.environ:
        return None
    process = fork(module, {**os.environ, _IN_STEAD: "1"}, sys.stdout.buffer, {})
    if process is None:
        return None
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    code = process.wait()
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


# ── in the process that is forked ────────────────────────────────────────────────────────────────


class _Preloaded:
    """The fork server: forks on request, and reports to the requester how the process ended."""

    def __init__(
        self, path: Path, before: Mapping[str, str], imported: Sequence[ModuleType]
    ) -> None:
        self._readers = [module for module in imported if hasattr(module, "read_again")]
        self._read_again = {name for reader in self._readers for name in reader.READ_AGAIN}
        self._own = self._read_at_import(before)
        # Variables that the imported modules have set and rely on.
        self._set = {k: v for k, v in os.environ.items() if before.get(k) != v}
        # The entry that `python -m` puts first belongs to each process.
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self._path = [entry for entry in sys.path[1:] if entry not in given]
        self._selector = selectors.DefaultSelector()
        self._requesters: dict[int, socket.socket] = {}
        self._ended, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno())
        self._wakeup = wakeup
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        starting = path.with_suffix(".starting")  # renamed once the server answers
        self._listener.bind(str(starting))
        self._listener.listen(64)
        starting.rename(path)

    def serve(self) -> None:
        for file, action in (
            (self._listener, self._accept),
            (self._ended, self._report_ended),
            (sys.stdin, sys.exit),
        ):
            self._selector.register(file, selectors.EVENT_READ, action)
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        with suppress(OSError, ValueError):
            header, fds, _, _ = socket.recv_fds(
                connection, _HEADER_BYTES, _MOST_FDS, socket.MSG_CMSG_CLOEXEC
            )
            request = json.loads(_read(connection, int(header)))
            others = request["env"].items() - self._set.items()  # forks pass on what is set here
            if self._read_at_import(dict(others)) == self._own:
                pid = os.fork()
                if pid == 0:
                    self._become(request, fds, connection)
                self._requesters[pid] = connection
            else:
                connection.close()
            for fd in fds:
                os.close(fd)

    def _read_at_import(self, env: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in env.items()
            if _READ_AT_IMPORT.match(name)
            and not name.startswith(_READ_LATER)
            and name not in self._read_again
        }

    def _become(self, request: _Request, fds: Sequence[int], requester: socket.socket) -> None:
        """Become the requested process; never returns."""
        try:
            self._close_server()
            *standard, passed = fds[0], fds[1], fds[2], fds[3:]
            for place, fd in enumerate(standard):
                os.dup2(fd, place)
                os.close(fd)
            os.environ.clear()
            os.environ.update({**self._set, **request["env"]})
            for name, fd in zip(request["passed"], passed, strict=True):
                os.set_inheritable(fd, True)
                os.environ[name] = str(fd)
            os.chdir(request["cwd"])
            given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
            sys.path[:] = [request["cwd"], *given, *self._path]
            importlib.invalidate_caches()
            command = ["dpo_core.children", request["module"]]
            if "arguments" in request:
                command = [request["module"], *request["arguments"]]
            _appear_as(command)
            requester.sendall(f"{os.getpid():0{_HEADER_BYTES}d}".encode())
            requester.close()
            sys.argv[:] = [sys.argv[0], *command[1:]]
            for reader in self._readers:
                reader.read_again(request["module"])
            code = _run(request["module"], is_child="arguments" not in request)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            code = 1
        sys.stdout.flush()
        if "arguments" in request:
            sys.exit(code)  # with the interpreter's usual cleanup
        os._exit(code)

    def _close_server(self) -> None:
        """Close what belongs to the fork server only."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for own in (self._listener, self._ended, self._wakeup, *self._requesters.values()):
            own.close()
        self._selector.close()

    def _report_ended(self) -> None:
        self._ended.recv(4096)
        while self._requesters:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self._requesters.pop(pid)
            with suppress(OSError):  # the requester has gone
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}".encode())
            connection.close()


def _run(module: str, *, is_child: bool) -> int:
    """Run the module to its end, as `python -m dpo_core.children` or `python -m` does."""
    from dpo_core.children import run_module

    sys.modules.pop(module, None)  # it runs as the main module, not as the imported one
    try:
        if is_child:
            run_module(module)
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _read(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        more = connection.recv(size - len(content))
        if not more:
            raise ValueError("the requester has gone")
        content += more
    return content


def _appear_as(command: Sequence[str]) -> None:
    """Show this command line and environment in /proc, as if the process had been started so.

    /proc, and so `ps`, reads them from where the kernel wrote them at the start. Variables that do
    not fit there are left out, the longest first.
    """
    stat = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    command_start, command_end, *_, env_start, env_end = map(int, stat[45:49])
    _write_over(command_start, command_end, [sys.executable, "-m", *command])
    variables = (f"{name}={value}" for name, value in os.environ.items())
    _write_over(env_start, env_end, sorted(variables, key=len))


def _write_over(start: int, end: int, words: Sequence[str]) -> None:
    content, room = b"", end - start
    for word in words:
        more = os.fsencode(word) + b"\0"
        if len(content) + len(more) <= room:
            content += more
    ctypes.memmove(start, content.ljust(room, b"\0"), room)


def main(path: Path, modules: Sequence[str]) -> None:
    """Import the modules, then serve requests to fork."""
    if _ROOM not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, _ROOM: " " * 32768})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the requesters
    before = dict(os.environ)
    collector.begin_imports()
    imported = [importlib.import_module(module) for module in modules]
    collector.end_imports()
    _Preloaded(path, before, imported).serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
