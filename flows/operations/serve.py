"""`ratchet label serve`: progress, the address, and waiting until it is stopped."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.prefect.credentials import (
    REPORT_PATH,
    campaign_key_path,
    read_key,
    sign_in_help,
    sign_in_link,
    worker_key_path,
)
from flows.prefect.server import Pages, start_server
from labeling.server import DEFAULT_FOLDER, Server, start
from labeling.server.credentials import credentials_path
from labeling.server.process import LOOPBACK, is_loopback
from reporting.report import write_report
from reporting.summary import read_summary

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


def serve_ui(root: Path, port: int, trusted: Sequence[str] = ()) -> None:
    """Serve until interrupted. Raises BadInput for a folder that is no campaign or a taken port,
    and ChildDied when the server ends by itself."""
    layout = Layout(root)
    write_report(read_summary(root), layout.report)
    command = f"ratchet link {shlex.quote(str(root))}"
    pages = Pages(trusted, sign_in_help(command, campaign_key_path(layout)))
    server, url, key = start_server(layout, campaign_key_path(layout), port=port, pages=pages)
    with server:
        print(
            f"runs:   {url}/runs",
            f"report: {url}{REPORT_PATH}",
            f"sign in there: {sign_in_link(key, '/runs')} (works once)",
            "Ctrl-C stops",
            sep="\n",
            flush=True,
        )
        while server.alive():
            time.sleep(0.5)
        raise server.died()


def new_link(folder: Path) -> str:
    """A link to the pages of the worker in `folder`, or of the campaign there, that works once.

    Raises BadInput where neither shows pages now.
    """
    layout = Layout(folder)
    paths = (campaign_key_path(layout), worker_key_path(layout))
    key = next((found for path in paths if (found := read_key(path)) and found.url), None)
    if key is None:
        raise BadInput(
            f"no server has shown pages in {folder}",
            "Start it with `ratchet worker`, or with `ratchet ui CAMPAIGN` for one campaign; "
            "the folder is the worker's or the campaign's.",
        )
    return sign_in_link(key, "/runs")
