"""`ratchet label serve`, `ratchet ui` and `ratchet link`: serve pages until interrupted."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

from dpo_core.campaign.layout import CAMPAIGNS, Layout
from dpo_core.errors import BadInput
from dpo_core.server_keys import (
    REPORT_PATH,
    Key,
    campaign_key_path,
    provide_key,
    read_key,
    sign_in_help,
    sign_in_link,
    worker_key_path,
)
from dpo_core.web_guard import Guard
from flows.config import check_is_campaign
from flows.prefect.server import (
    Pages,
    address,
    check_port,
    command_line,
    free_port,
    start_server,
)
from labeling.server import DEFAULT_FOLDER, Server, start
from labeling.server.credentials import credentials_path
from labeling.server.process import LOOPBACK, is_loopback
from reporting.report import write_report
from reporting.summary import read_summary

if TYPE_CHECKING:
    import uvicorn

_POLL_S = 0.5


def serve_labels(
    folder: Path, port: int, host: str = LOOPBACK, trusted: Sequence[str] = ()
) -> None:
    """Serve Argilla until interrupted.

    Raises what `labeling.server.start` does, and LabelServerFailed if the server dies.
    """
    with Console(stderr=True, highlight=False).status("Starting Argilla …") as status:
        server = start(folder, port, host, _show_in(status), trusted)
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
        yield f"! Listening on {host} without encryption: put a TLS proxy in front."
    yield "Ctrl-C stops"


def _show_in(status: Status) -> Callable[[str], None]:
    """Show each line in place of the last one; without a terminal, print the important ones."""

    def say(line: str) -> None:
        status.update(line)
        if not status.console.is_terminal and not line.startswith("collecting"):
            print(line, file=sys.stderr, flush=True)

    return say


def serve_ui(root: Path, port: int, trusted: Sequence[str] = ()) -> None:
    """Serve the campaign's pages until interrupted.

    Raises BadInput for a folder that is not a campaign or a port in use, ChildDied if the server
    dies.
    """
    layout = Layout(root)
    check_is_campaign(layout)
    if port:
        check_port(port)
    write_report(read_summary(root), layout.report)
    command = f"ratchet link {shlex.quote(str(root))}"
    pages = Pages(trusted, sign_in_help(command, campaign_key_path(layout)))
    server, url, key = start_server(layout, campaign_key_path(layout), port=port, pages=pages)
    with server:
        print(
            f"runs:   {url}/runs",
            f"report: {url}{REPORT_PATH}",
            f"sign in there: {sign_in_link(key)} (works once)",
            "Ctrl-C stops",
            sep="\n",
            flush=True,
        )
        while server.alive():
            time.sleep(_POLL_S)
        raise server.died()


def serve_console(port: int, trusted: Sequence[str] = ()) -> None:
    """Serve the console of the campaigns here until interrupted, without a worker.

    Raises BadInput for a port in use.
    """
    import uvicorn

    from console.app import HOME, Console, create_app
    from console.label_proxy import LabelProxy

    port = check_port(port) if port else free_port()
    layout = Layout(CAMPAIGNS)
    key = provide_key(worker_key_path(layout), address(port), HOME)
    command = f"ratchet link {shlex.quote(str(CAMPAIGNS))}"
    console = Console((CAMPAIGNS,), command_line(None))
    help = sign_in_help(command, worker_key_path(layout))
    guard = Guard(create_app(console), trusted, key.secret, help)
    app = LabelProxy(guard, console.label_names)
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    with ThreadPoolExecutor(1) as beside:
        beside.submit(_announce_console, server, key)
        server.run()


def _announce_console(server: "uvicorn.Server", key: Key) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.02)
    lines = (f"Ratchet: {sign_in_link(key)} (works once)", "Ctrl-C stops")
    print(*lines, sep="\n", flush=True)


def new_link(folder: Path) -> str:
    """A one-time link to the pages of the worker or campaign in `folder`.

    Raises BadInput if neither has a server.
    """
    layout = Layout(folder)
    paths = (campaign_key_path(layout), worker_key_path(layout))
    key = next((key for path in paths if (key := read_key(path)) and key.url), None)
    if key is None:
        raise BadInput(
            f"no server has served pages from {folder}",
            "Start it with `ratchet worker`, or with `ratchet ui CAMPAIGN` for one campaign; "
            "name the worker's or the campaign's folder.",
        )
    return sign_in_link(key)
