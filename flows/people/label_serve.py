"""`ratchet label serve`: progress, the address, and waiting until it is stopped."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from labeling.server import DEFAULT_FOLDER, Server, start
from labeling.server.credentials import credentials_path
from labeling.server.process import LOOPBACK, is_loopback

_POLL_S = 0.5


def serve_labels(
    folder: Path, port: int, host: str = LOOPBACK, trusted: Sequence[str] = ()
) -> None:
    """Serve until interrupted. Raises what `labeling.server.start` does, and LabelServerFailed when
    the server ends by itself."""
    with Console(stderr=True, highlight=False).status("Starting Argilla …") as status:
        server = start(folder, port, host, _teller(status), trusted)
    with server:
        print(*_announcement(server, host), sep="\n", flush=True)
        while server.alive():
            time.sleep(_POLL_S)
        raise server.died()


def _announcement(server: Server, host: str) -> Iterator[str]:
    folder = server.folder
    where = "" if folder == DEFAULT_FOLDER else f" --dir {shlex.quote(str(folder))}"
    yield f"Argilla: {server.credentials.url} (ready after {server.seconds_start:.1f} s)"
    yield f"sign in: {server.credentials.username}, password in {credentials_path(folder)}"
    yield f"annotators: ratchet label user add NAME{where}"
    if not is_loopback(host):
        yield f"! Listening on {host} without encryption: put a proxy with TLS before it."
    yield "Ctrl-C stops"


def _teller(status: Status) -> Callable[[str], None]:
    """Shows each line in the place of the last one; on no terminal, the important ones."""

    def say(line: str) -> None:
        status.update(line)
        if not status.console.is_terminal and not line.startswith("collecting"):
            print(line, file=sys.stderr, flush=True)

    return say
