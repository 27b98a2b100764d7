"""Ratchet's own Prefect server: a child process on the campaign's SQLite database, or on the user's
database. It answers only those who know its secret (dpo_core.web_guard).

Prefect's ephemeral server outlives a killed flow; this one ends with its parent. Importing this
module does not import Prefect; running it (`python -m flows.prefect.server`) serves.
"""

import asyncio
import json
import logging
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Literal

from dpo_core.atomic import write_atomic, write_text
from dpo_core.campaign.layout import Layout
from dpo_core.children import Child, Report, serve_jobs
from dpo_core.errors import BadInput, ServerFailed
from dpo_core.jobs import ChildJob, JobResult, job_kinds
from dpo_core.port_owner import describe_port_owner
from dpo_core.server_keys import RUNS_PATH, Key, find_served_file, provide_key, with_key
from dpo_core.user_cache import user_cache
from dpo_core.web_guard import Guard

if TYPE_CHECKING:
    from console.actions import CommandLine

_START_TIMEOUT_S = 120.0
_FIRST_PORT, _TRIES = 20_000, 20
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_HOST = "127.0.0.1"
_DATABASE = "prefect.db"
_DATABASE_VARIABLES = (
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
# Registering block types takes 0.7 CPU-seconds, and only Prefect's pages use them.
_WITHOUT_BLOCKS = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # else Prefect records them as registered
}


def prefect_environment(layout: Layout) -> dict[str, str]:
    """Settings that keep Prefect's files in the campaign and switch its telemetry off."""
    home = layout.prefect.resolve()
    return {
        "PREFECT_HOME": str(home),
        # PREFECT_HOME does not cover these.
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_SETTINGS_PATH": str(home / "logging.yml"),
    }


def has_history(layout: Layout) -> bool:
    """Whether a server has run here before, or may have on the user's database."""
    return (layout.prefect / _DATABASE).exists() or _users_database()


def _users_database() -> bool:
    """Whether the environment sets a database, under either of Prefect's names."""
    return any(os.environ.get(name) for name in _DATABASE_VARIABLES)


class LogFile(logging.FileHandler):
    """A log file without a traceback for each line that a full disk loses; the run reports that."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def write_logging_config(layout: Layout) -> None:
    """Make Prefect's client log to the campaign's file and its server, not to the screen."""
    to_file = {
        "class": "flows.prefect.server.LogFile",
        "filename": str(layout.log("prefect").resolve()),
        "formatter": "plain",
        "delay": True,
    }
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": to_file, "api": {"class": "prefect.logging.handlers.APILogHandler"}},
        "loggers": {
            "prefect": {"level": "INFO", "handlers": ["file"], "propagate": False},
            "prefect.flow_runs": {"level": "NOTSET", "handlers": ["api"]},
            "prefect.task_runs": {"level": "NOTSET", "handlers": ["api"]},
        },
    }
    # Prefect substitutes $SETTING in this file, so dollar signs in paths are doubled.
    text = json.dumps(config, indent=1).replace("$", "$$")
    write_text(layout.prefect.resolve() / "logging.yml", text)


@dataclass(frozen=True)
class Pages:
    """Web pages of a server: Prefect's, and the campaign's files under /ratchet/.

    trusted: further host names under which browsers may reach it, as through a proxy.
    remedy: how to sign in, as the rest of a sentence. console: folders of campaigns that the
    console shows on the home page; None without a console.
    """

    trusted: Sequence[str]
    remedy: str
    console: tuple[Path, ...] | None = None


class ServeJob(ChildJob[JobResult]):
    """Serve Prefect's API to those who know the secret. reports: folder of the campaign, whose
    report is served too. database: is created if it does not exist."""

    op: Literal["serve"] = "serve"
    port: int
    reports: Path | None
    database: Path | None
    secret: str
    pages: Pages


def start_server(
    layout: Layout, key_file: Path, *, port: int | None = None, pages: Pages | None = None
) -> tuple[Child, str, Key]:
    """Start a server. Returns its process, its address http://127.0.0.1:PORT, and its key.

    Takes a free port if `port` is None or 0. Raises BadInput if the port is in use, ServerFailed if
    the server does not start.
    """
    port = check_port(port) if port else free_port()
    url = address(port)
    layout.prefect.mkdir(parents=True, exist_ok=True)
    first = "/" if pages is not None and pages.console is not None else RUNS_PATH
    key = provide_key(key_file, url if pages is not None else None, first)
    env = {
        **prefect_environment(layout),
        **with_key(os.environ, key),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_API_URL": "/api",  # relative, for browsers that use another host name
        "PREFECT_UI_ENABLED": str(pages is not None).lower(),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
    }
    if pages is None:
        env |= _WITHOUT_BLOCKS
    database = None if _users_database() else layout.prefect.resolve() / _DATABASE
    if database is not None:
        env[_DATABASE_VARIABLES[0]] = database_url(database)
    child = Child.start("flows.prefect.server", layout.log("prefect-server"), env)
    job = ServeJob(
        port=port,
        reports=layout.root.resolve() if pages is not None else None,
        database=database,
        secret=key.secret,
        pages=pages or Pages((), f"the secret is in {key_file}"),
    )
    child.carry_out(job)
    return child, url, key


@contextmanager
def vital(server: Child, stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """End this process at once, after calling `stop`, if the server dies.

    Prefect's client would retry every call for minutes. As after a SIGKILL, finished steps are kept
    and child processes end by themselves.
    """
    over = threading.Event()

    def watch() -> None:
        server.process.wait()
        if not over.is_set():
            error = server.died()
            stop()
            print(error.shown(), file=sys.stderr, flush=True)
            os._exit(error.exit_code)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def address(port: int) -> str:
    return f"http://{_HOST}:{port}"


def free_port() -> int:
    """A free port on the loopback address.

    Prefers one below the range for outgoing connections, which could take it before the server
    does, or while a server restarts.
    """
    below = range(_FIRST_PORT, _outgoing_from())
    for port in SystemRandom().sample(below, min(_TRIES, len(below))):
        with suppress(OSError):
            return _bound(port)
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, port))
        return int(probe.getsockname()[1])


def _outgoing_from() -> int:
    """The first port for outgoing connections; 0 if unknown."""
    try:
        return int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def check_port(port: int) -> int:
    """The port, if it is free. Raises BadInput that names who uses it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise BadInput(
                f"port {port} cannot be used: {error.strerror}{describe_port_owner(port)}",
                "Choose another with --port, or stop what uses it.",
            ) from None
    return port


# ── in the child ─────────────────────────────────────────────────────────────────────────────────


def _carry_out(job: ServeJob, report: Report) -> JobResult:
    import uvicorn

    if job.database is not None:
        provide_database(job.database)
    app = _guarded(job)
    config = uvicorn.Config(app, host=_HOST, port=job.port, log_level="warning")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not serving.is_alive():
            raise ServerFailed(
                "the Prefect server did not start",
                "If PREFECT_API_DATABASE_CONNECTION_URL is set, check that its database answers.",
            )
        if time.monotonic() > deadline:
            raise ServerFailed(f"the Prefect server was not up after {_START_TIMEOUT_S:.0f} s")
        time.sleep(0.02)
    return JobResult()


def _guarded(job: ServeJob) -> Any:
    from prefect.server.api.server import create_app

    app = create_app()
    guard = Guard(app, job.pages.trusted, job.secret, job.pages.remedy)
    # First, because Prefect's pages answer every other path.
    if job.reports is not None:
        from starlette.routing import Mount

        app.router.routes.insert(0, Mount("/ratchet", app=_ReportFiles(job.reports)))
    if job.pages.console is None:
        return guard
    from console.app import Console
    from console.label_proxy import LabelProxy

    console = Console(tuple(job.pages.console), command_line(job.reports), RUNS_PATH)
    app.router.routes[:0] = console.routes()
    return LabelProxy(guard, console.label_names)


def command_line(worker: Path | None) -> "CommandLine":
    """How the console types commands: in the current folder, to the worker in that folder."""
    from console.actions import CommandLine

    return CommandLine((sys.executable, "-m", "flows.cli"), Path.cwd(), worker)


class _ReportFiles:
    """Serves campaigns' reports and metrics, and no other files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import FileResponse, PlainTextResponse

        path = find_served_file(self.root, scope["path"])
        if path is None:
            await PlainTextResponse("not found", 404)(scope, receive, send)
        else:
            await FileResponse(path)(scope, receive, send)


def database_url(database: Path) -> str:
    """The file as a value of PREFECT_API_DATABASE_CONNECTION_URL."""
    return f"sqlite+aiosqlite:///{database}"


def provide_database(database: Path) -> None:
    """Create `database`, the one in this process's Prefect settings, unless it exists.

    Copies the user's cached empty database. Migrates a new one if there is none, and caches it if
    possible.
    """
    import prefect

    if database.exists():
        return
    empty = user_cache() / f"prefect-{prefect.__version__}.db"
    if not empty.exists():
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        try:
            write_atomic(empty, lambda beside: _copy(database, beside))
        except OSError:
            return
    else:
        write_atomic(database, lambda beside: shutil.copyfile(empty, beside))


def _copy(database: Path, copy: Path) -> None:
    """Copy everything that is committed, the write-ahead log included, into one file."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def cache_empty_database() -> None:
    """Cache an empty database for this version of Prefect, by creating a temporary one."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, _DATABASE)
        os.environ |= {"PREFECT_HOME": folder, _DATABASE_VARIABLES[0]: database_url(database)}
        provide_database(database)


if __name__ == "__main__":
    serve_jobs(job_kinds(ServeJob), _carry_out)
