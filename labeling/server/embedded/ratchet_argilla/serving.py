"""Run argilla-server's app under uvicorn, on a migrated database."""

import asyncio
import gc
import importlib.util
import logging
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import uvicorn
from argilla_server import app
from argilla_server.database import ALEMBIC_CONFIG_FILE, async_engine

from . import accounts, contract, parent, patches
from .agreement import Agreement
from .jobs import Runner
from .pages import OwnContentOnly
from .request import Request
from .search import engine
from .sign_in import SignIn

_GRACE_S = 5
"""Seconds that open requests may take when the server stops."""
_POLL_S = 0.02


def serve(request: Request, listening: socket.socket) -> None:
    """Serve until SIGTERM, which raises SystemExit."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    contract.check()
    _migrate(request.database)
    engine.register()
    gc.freeze()
    gc.enable()
    asyncio.run(_serve(request, listening))


def _migrate(database: Path) -> None:
    config = alembic.config.Config()  # without its file, which also configures logging
    config.set_main_option("script_location", str(Path(ALEMBIC_CONFIG_FILE).parent / "alembic"))
    alembic.command.upgrade(config, "head")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the one writer


async def _serve(request: Request, listening: socket.socket) -> None:
    await accounts.prepare(request)
    runner = Runner(request.journal)
    patches.apply(runner)
    config = uvicorn.Config(
        _guarded(request), access_log=False, log_config=None, timeout_graceful_shutdown=_GRACE_S
    )
    server = uvicorn.Server(config)
    announcing = asyncio.create_task(_announce(server, listening))
    try:
        runner.resume()
        await server.serve(sockets=[listening])
    finally:
        announcing.cancel()
        await runner.close()
        await engine.close()
        await async_engine.dispose()  # the last connection writes the log into the database
    if not server.started:
        raise RuntimeError("argilla-server did not start: the lines above say why")


def _guarded(request: Request) -> Any:
    """Argilla's app behind Ratchet's web guard, without a secret, since Argilla has users.

    The guard's file is not importable in this environment, so it is loaded from its path.
    """
    spec = importlib.util.spec_from_file_location("ratchet_web_guard", request.guard)
    assert spec is not None and spec.loader is not None, "it is a Python file"
    guard = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = guard  # its dataclasses look there
    spec.loader.exec_module(guard)
    own = Agreement(SignIn(app, request.api_key), request.api_key, request.agreement)
    return guard.Guard(OwnContentOnly(own), request.trusted)


async def _announce(server: uvicorn.Server, listening: socket.socket) -> None:
    while not server.started:
        await asyncio.sleep(_POLL_S)
    parent.send(event="result", result={"port": listening.getsockname()[1]})
