"""A Prefect server that Ratchet owns: a child process on the campaign's own SQLite database, or on
the database that the user names. It answers those who know its secret (dpo_core.web_guard).

Prefect's ephemeral server outlives a killed flow; this one ends when its parent does. Importing
this module loads no Prefect; running it (`python -m flows.prefect.server`) serves.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any

from platformdirs import user_cache_path

from dpo_core.atomic import write_atomic, write_text
from dpo_core.campaign.layout import Layout
from dpo_core.children import Child, Report, serve
from dpo_core.errors import BadInput, ServerFailed
from dpo_core.web_guard import Guard
from flows.prefect import server as prefect_database
from flows.prefect.credentials import Key, find_served_file, provide_key, with_key

_START_TIMEOUT_S = 120.0
_FIRST_PORT, _TRIES = 20_000, 20
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_HOST = "127.0.0.1"
_DATABASE = "prefect.db"
_DATABASE_VARIABLES = (
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
# Writing Prefect's types of blocks takes 0.7 CPU-seconds, for those who make blocks in its pages.
_WITHOUT_BLOCKS = {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # or it remembers them as written
}


def prefect_environment(layout: Layout) -> dict[str, str]:
    """Settings that keep Prefect's files inside the campaign and its reports at home."""
    home = layout.prefect.resolve()
    return {
        "PREFECT_HOME": str(home),
        # PREFECT_HOME alone is not enough.
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_SETTINGS_PATH": str(home / "logging.yml"),
    }


def has_history(layout: Layout) -> bool:
    """Whether a server of ours has run here before, or might have on the user's database."""
    return (layout.prefect / _DATABASE).exists() or _users_database()


def _users_database() -> bool:
    """Whether the environment names a database, by either of Prefect's names for the setting."""
    return any(os.environ.get(name) for name in _DATABASE_VARIABLES)


class LogFile(logging.FileHandler):
    """Without room on the disk it keeps silent: the run says that in words, and nobody needs a
    traceback for each line that could not be logged."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def write_logging_config(layout: Layout) -> None:
    """Make Prefect's client log to a file of the campaign and to its server, not to the screen."""
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
    # Prefect fills $SETTING in this file, so a dollar sign in a path is doubled.
    text = json.dumps(config, indent=1).replace("$", "$$")
    write_text(layout.prefect.resolve() / "logging.yml", text)


@dataclass(frozen=True)
class Pages:
    """That a server shows web pages: Prefect's, and the campaign's files under /ratchet/.

    trusted: names besides its own addresses that browsers may know it by, as through a proxy.
    remedy: what somebody does who does not know its secret, the rest of a sentence.
    """

    trusted: Sequence[str]
    remedy: str


def start_server(
    layout: Layout, key_file: Path, *, port: int | None = None, pages: Pages | None = None
) -> tuple[Child, str, Key]:
    """A running server child, its address, http://127.0.0.1:PORT, and what opens it.

    Without a port, or with 0, it takes a free one. Raises BadInput when the port is taken,
    ServerFailed when the server does not come up.
    """
    port = _check_port(port) if port else free_port()
    url = address(port)
    layout.prefect.mkdir(parents=True, exist_ok=True)
    key = provide_key(key_file, url if pages is not None else None)
    env = {
        **prefect_environment(layout),
        **with_key(os.environ, key),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_API_URL": "/api",  # whatever name a browser knows the server by
        "PREFECT_UI_ENABLED": str(pages is not None).lower(),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
    }
    if pages is None:
        env |= _WITHOUT_BLOCKS
    database = None
    if not _users_database():
        database = str(layout.prefect.resolve() / _DATABASE)
        env[_DATABASE_VARIABLES[0]] = prefect_database.url(Path(database))
    child = Child.start("flows.prefect.server", layout.log("prefect-server"), env)
    child.ask(
        {
            "port": port,
            "reports": str(layout.root.resolve()) if pages is not None else None,
            "database": database,
            "secret": key.secret,
            "trusted": list(pages.trusted) if pages is not None else [],
            "remedy": pages.remedy if pages is not None else f"it stands in {key_file}",
        }
    )
    return child, url, key


@contextmanager
def vital(server: Child, stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Within, the death of the server ends this process at once; `stop` is called before.

    Prefect's client would go on for minutes, trying every call again. As after a SIGKILL, finished
    steps are kept and the children end by themselves.
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
    """A port of the loopback address that nobody uses now.

    Below those that the system gives to outgoing connections, where there are any: one of these
    could take it before the server does, or while a server is started again.
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
    """The first port of outgoing connections; 0 where the system does not say."""
    try:
        return int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _check_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise BadInput(
                f"port {port} cannot be used: {error.strerror}", "Choose another with --port."
            ) from None
    return port


# ── in the child ─────────────────────────────────────────────────────────────────────────────────


def _handle(request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    import uvicorn

    if request["database"] is not None:
        prefect_database.provide(Path(request["database"]))
    app = Guard(_app(request["reports"]), request["trusted"], request["secret"], request["remedy"])
    config = uvicorn.Config(app, host=_HOST, port=request["port"], log_level="warning")
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not serving.is_alive():
            raise ServerFailed(
                "the Prefect server did not start",
                "If PREFECT_API_DATABASE_CONNECTION_URL names a database, check that it answers.",
            )
        if time.monotonic() > deadline:
            raise ServerFailed(f"the Prefect server was not up after {_START_TIMEOUT_S:.0f} s")
        time.sleep(0.02)
    return {}


def _app(reports: str | None) -> Any:
    from prefect.server.api.server import create_app

    app = create_app()
    if reports is not None:
        from starlette.routing import Mount

        # Before Prefect's own pages, which answer every path that nobody else does.
        app.router.routes.insert(0, Mount("/ratchet", app=_ReportFiles(Path(reports))))
    return app


class _ReportFiles:
    """Serves reports and metrics of campaigns, and nothing else of them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import FileResponse, PlainTextResponse

        path = find_served_file(self.root, scope["path"])
        if path is None:
            await PlainTextResponse("not found", 404)(scope, receive, send)
        else:
            await FileResponse(path)(scope, receive, send)


if __name__ == "__main__":
    serve(_handle)


def url(database: Path) -> str:
    """What Prefect's setting PREFECT_API_DATABASE_CONNECTION_URL says for this file."""
    return f"sqlite+aiosqlite:///{database}"


def provide(database: Path) -> None:
    """Make `database`, the file in this process's Prefect settings, unless it is there.

    Without a place for the empty one, every database is migrated from the start.
    """
    if database.exists():
        return
    empty = _empty_database()
    if not empty.exists():
        _migrate()
        try:
            write_atomic(empty, lambda beside: _copy(database, beside))
        except OSError:
            return
    else:
        write_atomic(database, lambda beside: shutil.copyfile(empty, beside))


def _empty_database() -> Path:
    import prefect

    return user_cache_path("ratchet") / f"prefect-{prefect.__version__}.db"


def _migrate() -> None:
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


def _copy(database: Path, copy: Path) -> None:
    """All that is committed, also what still stands in the write-ahead log, in one file."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _main() -> None:
    """Make the empty database of this Prefect, by way of one that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "prefect.db")
        os.environ |= {"PREFECT_HOME": folder, "PREFECT_API_DATABASE_CONNECTION_URL": url(database)}
        provide(database)


if __name__ == "__main__":
    _main()
