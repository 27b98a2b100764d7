"""Whom a command's processes speak to: from a trace of their system calls.

strace sees every process that a command starts, and libraries that open sockets past Python.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from dpo_core.preloaded import SOCKET

_CALLS = "socket,connect,sendto,sendmsg,sendmmsg"
_LINE = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?P<rest>.*)$")
_OPENED = re.compile(r"\((AF_INET6?), SOCK_(\w+)")
_FD = re.compile(r"\) *= (\d+)")
_TO = re.compile(r'sin6?_port=htons\((?P<port>\d+)\),.*?"(?P<address>[0-9a-f:.]+)"', re.IGNORECASE)
_DNS = 53
_SILENT_IN = ("CI", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
"""Variables in whose presence libraries of others leave out what a user's run would send."""


def traced(
    command: Sequence[str], trace: Path, env: Mapping[str, str], **options: object
) -> subprocess.CompletedProcess:  # type: ignore[type-arg]
    """Run a command as a user would, under strace with all that it starts, so that none is
    forked."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        _under_strace(command, trace), env=_as_users(env), **options
    )


@contextmanager
def tracing(
    command: Sequence[str], trace: Path, env: Mapping[str, str], cwd: Path
) -> Iterator[None]:
    """The same for a command that goes on: it runs while this lasts, then gets SIGTERM."""
    trace.touch()
    with subprocess.Popen(_under_strace(command, trace), env=_as_users(env), cwd=cwd) as strace:
        try:
            yield
        finally:
            children = Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            strace.wait(60)


def _under_strace(command: Sequence[str], trace: Path) -> list[str]:
    how = ["-f", "--seccomp-bpf", "-qq", "-s", "200", "-e", f"trace={_CALLS}"]
    return ["strace", *how, "-o", str(trace), "--", *command]


def _as_users(env: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in env.items() if name not in (*_SILENT_IN, SOCKET)}


def calls_elsewhere(trace: Path) -> Iterator[str]:
    """The calls of a trace that reach for another machine, or ask anybody for a machine's name.

    A datagram socket that is only connected sends nothing: so programs learn their own address.
    """
    sockets = _Sockets()
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            if found["name"] == "socket":
                sockets.open(found["thread"], found["rest"])
            elif sockets.reach_out(found["thread"], found["name"], found["rest"]):
                yield line.strip()


class _Sockets:
    """What is known of sockets, each by its thread and its number there: which are for datagrams,
    and which of those are connected to another machine."""

    def __init__(self) -> None:
        self._own = own_addresses()
        self._opening: dict[str, str] = {}  # thread → kind; a call may be on two lines
        self._datagrams: set[tuple[str, str]] = set()
        self._connected: set[tuple[str, str]] = set()

    def open(self, thread: str, rest: str) -> None:
        if (opened := _OPENED.search(rest)) is not None:
            self._opening[thread] = opened[2]
        if (number := _FD.search(rest)) is not None:
            this = (thread, number[1])
            self._connected.discard(this)
            self._datagrams.discard(this)
            if self._opening.pop(thread, "") == "DGRAM":
                self._datagrams.add(this)

    def reach_out(self, thread: str, call: str, rest: str) -> bool:
        """Whether a call of this socket reaches another machine."""
        this = (thread, rest[1:].partition(",")[0])
        to = _TO.search(rest)
        far = to is not None and (to["address"] not in self._own or int(to["port"]) == _DNS)
        if call == "connect" and this in self._datagrams:
            if far:
                self._connected.add(this)
            return False
        return far or (call != "connect" and this in self._connected)


def own_addresses() -> set[str]:
    """This machine's, by which its programs may reach each other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("203.0.113.1", 9))  # sends nothing
        mine = {asked.getsockname()[0]}
    listed = Path("/proc/net/if_inet6")
    rows = listed.read_text().split("\n") if listed.exists() else []
    mine |= {str(ip_address(int(row.split()[0], 16).to_bytes(16))) for row in rows if row}
    return _Own(mine)


class _Own(set[str]):
    def __contains__(self, address: object) -> bool:
        one = ip_address(str(address))
        mapped = getattr(one, "ipv4_mapped", None) or one
        return mapped.is_loopback or mapped.is_unspecified or super().__contains__(str(mapped))
