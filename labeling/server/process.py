"""Start and stop the embedded server in a child process that ends with its parent."""

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from dpo_core import web_guard
from dpo_core.children import Child
from dpo_core.errors import BadInput, ChildDied, LabelServerFailed
from dpo_core.file_lock import Holder, hold
from dpo_core.port_owner import describe_port_owner
from labeling.server.credentials import (
    WORKSPACE,
    Access,
    Credentials,
    auth_secret,
    new_credentials,
    read_credentials,
    write_credentials,
)
from labeling.server.environment import VERSION, Say, ensure_python

LOOPBACK = "127.0.0.1"
EMBEDDED = Path(__file__).parent / "embedded"
_STOP_TIMEOUT_S = 15.0
_STOP_POLL_S = 0.02


def _quiet(line: str) -> None:
    pass


@dataclass(frozen=True)
class Server:
    """A running server; a context manager that stops it."""

    folder: Path
    credentials: Credentials
    seconds_start: float
    child: Child
    lock: ExitStack
    """Closed last: removes temporary files, then unlocks the folder."""

    @property
    def access(self) -> Access:
        return self.credentials.access

    @property
    def port(self) -> int:
        return int(self.credentials.url.rpartition(":")[2])

    def alive(self) -> bool:
        return self.child.alive()

    def died(self) -> LabelServerFailed:
        """The error to raise for a server that ended by itself."""
        return _failed(self.child.died())

    def stop(self) -> None:
        """Let the server finish open requests and shut down; kill it after _STOP_TIMEOUT_S."""
        try:
            if self.child.alive():
                self.child.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            while self.child.alive() and time.monotonic() < deadline:
                time.sleep(_STOP_POLL_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server at once, as a crash would; confirmed writes are kept."""
        self.child.close()
        self.lock.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def running(folder: Path, port: int = 0, say: Say = _quiet) -> Iterator[Server]:
    """A server on the loopback address while the context lasts."""
    with start(folder, port, say=say) as server:
        yield server


def start(
    folder: Path,
    port: int = 0,
    host: str = LOOPBACK,
    say: Say = _quiet,
    trusted: Sequence[str] = (),
) -> Server:
    """Start the server of `folder` and wait until it answers.

    Args:
        port: 0 for a free port.
        trusted: names besides its own addresses that browsers may use for it, as behind a proxy.

    Raises:
        BadInput: another process serves the folder; the port is taken or the address cannot be
            listened on; or the address is open to others and a user has a default password or key.
        LabelServerFailed: the server does not start.
    """
    _check_folder(folder)
    python = ensure_python(say)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = ExitStack()
    try:
        held = lock.enter_context(hold(folder / "lock", lambda owner: _in_use(folder, owner)))
        lock.callback(shutil.rmtree, _temporary(folder), ignore_errors=True)
        started = time.monotonic()
        credentials = read_credentials(folder) or new_credentials()
        child = _child(python, folder, held.fileno())
        try:
            port = _ask_to_serve(child, folder, credentials, host, port, trusted)
            credentials = replace(credentials, url=_url(host, port))
            write_credentials(folder, credentials)
        except BaseException:
            child.close()
            raise
        return Server(folder, credentials, time.monotonic() - started, child, lock)
    except BaseException:
        lock.close()
        raise


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file", "Name a folder with --dir.")


def _in_use(folder: Path, owner: Holder) -> BadInput:
    return BadInput(
        f"{folder} is being served by process {owner['pid']} on {owner['host']}",
        f"Its address is in {folder / 'credentials.json'}; stop it with Ctrl-C there, "
        "or name another folder with --dir.",
    )


def _child(python: Path, folder: Path, lock: int) -> Child:
    """The server's process; it also holds the lock, so that none starts while it shuts down."""
    temporary = _temporary(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    env = {
        "PYTHONPATH": str(EMBEDDED),
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(temporary.resolve()),  # each start copies 14 MB of web pages there
    }
    command = [str(python), "-m", "ratchet_argilla"]
    try:
        return Child("argilla-server", folder / "server.log", env, command, pass_fds=(lock,))
    except ChildDied as error:
        raise _failed(error) from None


def _temporary(folder: Path) -> Path:
    return folder / "tmp"


def _ask_to_serve(
    child: Child,
    folder: Path,
    credentials: Credentials,
    host: str,
    port: int,
    trusted: Sequence[str],
) -> int:
    """Ask the child to serve; returns its port. Secrets are sent only through the pipe."""
    request = {
        "folder": str(folder.resolve()),
        "host": host,
        "port": port,
        "open_to_others": not is_loopback(host),
        "username": credentials.username,
        "password": credentials.password,
        "api_key": credentials.api_key,
        "auth_secret": auth_secret(folder),
        "workspace": WORKSPACE,
        "version": VERSION,
        "guard": web_guard.__file__,
        "trusted": _names_of(host, trusted),
    }
    try:
        return int(child.ask(request)["port"])
    except BadInput as error:
        taken = error.message.startswith("cannot listen")
        owner = describe_port_owner(port) if taken else ""
        raise BadInput(f"{error.message}{owner}", error.remedy) from None
    except ChildDied as error:
        raise _failed(error) from None


def _names_of(host: str, trusted: Sequence[str]) -> list[str]:
    """`trusted` plus `host` if it is a name; addresses are known from the connection.

    Port 0 trusts the name as Host with any port, without making other ports origins.
    """
    try:
        ip_address(host)
    except ValueError:
        return [*trusted, f"{host}:0"]
    return list(trusted)


def _failed(error: ChildDied) -> LabelServerFailed:
    return LabelServerFailed(error.message, "Labels are kept: the next start continues with them.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(host: str, port: int) -> str:
    """A URL that a browser on this machine can open, also for a wildcard address."""
    if host in ("0.0.0.0", "::"):
        host = LOOPBACK
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
