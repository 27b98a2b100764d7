"""Processes that need not import torch: they are forked from one that has.

The import of torch and transformers takes three CPU-seconds; a fork takes a hundredth of one, and
shares the memory. Where short campaigns run one after another on a CPU (tests, first of all), start

    python -m dpo_core.preloaded SOCKET MODULE…

once: every process that dpo_core.children starts with RATCHET_PRELOADED=SOCKET in its environment
is a fork of this one, which has imported the modules. It ends when its standard input closes.

A MODULE that reads the environment when it is imported, and can do so again, names in READ_AGAIN
the variables that may differ, and has a function read_again(module): the forked process calls it
before it runs `module`.

Linux, and no GPU: a process that has begun to use CUDA cannot be forked.
"""

import ctypes
import importlib
import json
import os
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
from typing import IO, Any

from dpo_core import collector

SOCKET = "RATCHET_PRELOADED"
_IN_STEAD = "RATCHET_IN_ANOTHERS_STEAD"
_ROOM = "RATCHET_ROOM_FOR_VARIABLES"
# Read when libraries are loaded, so a process that wants others is not forked.
_READ_AT_IMPORT = (
    "ATEN_",
    "CUDA_",
    "HF_",
    "LD_PRELOAD",
    "MKL_",
    "OMP_NUM_THREADS",
    "PREFECT_",
    "PYTHONHASHSEED",
    "TORCHDYNAMO_",
    "TORCH_",
    "TRANSFORMERS_",
)
_READ_LATER = ("CUDA_DEVICE_ORDER", "TORCH_NCCL_")
_HEADER_BYTES = 8
_MOST_FDS = 16


# ── in the process that starts others ────────────────────────────────────────────────────────────


class Forked:
    """A process that was forked, with the part of subprocess.Popen that children need."""

    def __init__(self, connection: socket.socket, pid: int, stdin: IO[str]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None
        self._connection = connection

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the number of the signal that ended it. Raises TimeoutError."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            told = self._connection.recv(_HEADER_BYTES)
            # Nothing is told where the process that forked it has gone, and it with that one.
            self.returncode = int(told) if told else -signal.SIGKILL
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
    """`python -m dpo_core.children module`, or None where it must be started as usual.

    passed: files that stay open in it; what is told of each is its number there, in the environment
    variable that is its key.
    """
    if not env.get(SOCKET):
        return None
    wanted = {"module": module, "env": dict(env), "cwd": os.getcwd(), "passed": list(passed)}
    return _fork(env[SOCKET], wanted, [output.fileno(), output.fileno(), *passed.values()])


def run_command(
    path: str | None,
    words: Sequence[str],
    env: Mapping[str, str],
    folder: Path,
    timeout_s: float | None,
) -> subprocess.CompletedProcess[str]:
    """`python -m WORD…` in a folder, once it has ended.

    A fork of the process whose socket is `path`, or started as usual where there is none.
    """
    module, *arguments = words
    wanted = {"module": module, "env": dict(env), "cwd": str(folder), "passed": []}
    with TemporaryFile() as output, TemporaryFile() as errors:
        files = [output.fileno(), errors.fileno()]
        process = _fork(path, {**wanted, "arguments": arguments}, files) if path else None
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


def _fork(path: str, wanted: Mapping[str, Any], files: Sequence[int]) -> Forked | None:
    """files: its standard output and errors, and those that stay open in it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    reads, writes = os.pipe()
    told = json.dumps(wanted).encode()
    try:
        connection.connect(path)
        header = f"{len(told):0{_HEADER_BYTES}d}".encode()
        socket.send_fds(connection, [header], [reads, *files])
        connection.sendall(told)
        pid = int(connection.recv(_HEADER_BYTES) or 0)
    except OSError:  # it is not there yet, or not any more
        pid = 0
    finally:
        os.close(reads)
    if not pid:
        connection.close()
        os.close(writes)
        return None
    return Forked(connection, pid, os.fdopen(writes, "w"))


def run_forked(module: str) -> int | None:
    """Have a fork run `module` in this process's stead, for those whom somebody else starts.

    The fork hears SIGTERM, and ends when this process does; this one ends as the fork does: what
    comes back is its exit code, or None where this process must run the module itself.
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
    """Answers requests to fork, and tells who asked how the process ended."""

    def __init__(
        self, path: Path, before: Mapping[str, str], imported: Sequence[ModuleType]
    ) -> None:
        self._readers = [module for module in imported if hasattr(module, "read_again")]
        self._read_again = {name for reader in self._readers for name in reader.READ_AGAIN}
        self._own = self._read_at_import(before)
        # Variables that what was imported has set: its code relies on them.
        self._set = {k: v for k, v in os.environ.items() if before.get(k) != v}
        # What `python -m` puts before it is each process's own.
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        self._path = [each for each in sys.path[1:] if each not in given]
        self._selector = selectors.DefaultSelector()
        self._asked: dict[int, socket.socket] = {}
        self._ended, tell_ended = socket.socketpair()
        tell_ended.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(tell_ended.fileno())
        self._tell_ended = tell_ended
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unborn = path.with_suffix(".starting")  # it is at its place once it answers
        self._listener.bind(str(unborn))
        self._listener.listen(64)
        unborn.rename(path)

    def serve(self) -> None:
        for file, what in (
            (self._listener, self._accept),
            (self._ended, self._tell),
            (sys.stdin, sys.exit),
        ):
            self._selector.register(file, selectors.EVENT_READ, what)
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        with suppress(OSError, ValueError):
            header, fds, _, _ = socket.recv_fds(
                connection, _HEADER_BYTES, _MOST_FDS, socket.MSG_CMSG_CLOEXEC
            )
            wanted = json.loads(_read(connection, int(header)))
            others = wanted["env"].items() - self._set.items()  # what a fork of this one starts
            if self._read_at_import(dict(others)) == self._own:
                pid = os.fork()
                if pid == 0:
                    self._become(wanted, fds, connection)
                self._asked[pid] = connection
            else:
                connection.close()
            for fd in fds:
                os.close(fd)

    def _read_at_import(self, env: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in env.items()
            if name.startswith(_READ_AT_IMPORT)
            and not name.startswith(_READ_LATER)
            and name not in self._read_again
        }

    def _become(self, wanted: Mapping[str, Any], fds: Sequence[int], asked: socket.socket) -> None:
        """Be the process that was asked for; never returns."""
        try:
            self._leave()
            *standard, passed = fds[0], fds[1], fds[2], fds[3:]
            for place, fd in enumerate(standard):
                os.dup2(fd, place)
                os.close(fd)
            os.environ.clear()
            os.environ.update({**self._set, **wanted["env"]})
            for name, fd in zip(wanted["passed"], passed, strict=True):
                os.set_inheritable(fd, True)
                os.environ[name] = str(fd)
            os.chdir(wanted["cwd"])
            given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
            sys.path[:] = [wanted["cwd"], *given, *self._path]
            importlib.invalidate_caches()
            command = ["dpo_core.children", wanted["module"]]
            if "arguments" in wanted:
                command = [wanted["module"], *wanted["arguments"]]
            _appear_as(command)
            asked.sendall(f"{os.getpid():0{_HEADER_BYTES}d}".encode())
            asked.close()
            sys.argv[:] = [sys.argv[0], *command[1:]]
            for reader in self._readers:
                reader.read_again(wanted["module"])
            code = _run(wanted["module"], is_child="arguments" not in wanted)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            code = 1
        sys.stdout.flush()
        if "arguments" in wanted:
            sys.exit(code)  # with all that an interpreter does at its end
        os._exit(code)

    def _leave(self) -> None:
        """What only the process that forks others has ends here."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for own in (self._listener, self._ended, self._tell_ended, *self._asked.values()):
            own.close()
        self._selector.close()

    def _tell(self) -> None:
        self._ended.recv(4096)
        while self._asked:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self._asked.pop(pid)
            with suppress(OSError):  # whoever asked has gone
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}".encode())
            connection.close()


def _run(module: str, *, is_child: bool) -> int:
    """Run the module to its end, as `python -m dpo_core.children` does, or `python -m`."""
    from dpo_core.children import run_module

    sys.modules.pop(module, None)  # it is run as the main module, not as what was imported
    try:
        if is_child:
            run_module(module)
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _read(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = connection.recv(size - len(read))
        if not more:
            raise ValueError("whoever asked has gone")
        read += more
    return read


def _appear_as(command: Sequence[str]) -> None:
    """Show the command line and the environment that the process would have, had it been started.

    /proc, and so `ps`, reads them from where the kernel wrote them at the start. Variables that
    find no room there are left out, the longest first.
    """
    stat = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    command_start, command_end, *_, env_start, env_end = map(int, stat[45:49])
    _write_over(command_start, command_end, [sys.executable, "-m", *command])
    variables = (f"{name}={value}" for name, value in os.environ.items())
    _write_over(env_start, env_end, sorted(variables, key=len))


def _write_over(start: int, end: int, words: Sequence[str]) -> None:
    shown, room = b"", end - start
    for word in words:
        more = os.fsencode(word) + b"\0"
        if len(shown) + len(more) <= room:
            shown += more
    ctypes.memmove(start, shown.ljust(room, b"\0"), room)


def main(path: Path, modules: Sequence[str]) -> None:
    """Import the modules, then fork what is asked for."""
    if _ROOM not in os.environ:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, _ROOM: " " * 32768})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    before = dict(os.environ)
    collector.begin_imports()
    imported = [importlib.import_module(module) for module in modules]
    collector.end_imports()
    _Preloaded(path, before, imported).serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
