"""Imports Prefect and its server once, for processes that are forked (dpo_core.preloaded).

Prefect reads its settings and logging from the environment when it is imported. Here it finds none,
so that processes without Prefect log as usual; `read_again` makes a forked process read its own.
"""

import importlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

_IMPORTED = (
    "prefect.server.api.server",
    # Imported by the server when it starts.
    "aiosqlite",
    "alembic.command",
    "anyio._backends._asyncio",
    "burner_redis",
    "docket._redis_memory",
    "docket.tasks",
    "mako.ext.pygmentplugin",
    "prefect.logging.formatters",
    "prefect.server.concurrency.lease_storage.memory",
    "prefect.server.database.query_components",
    "prefect.server.events.ordering.memory",
    "prefect.server.events.services.actions",
    "prefect.server.events.services.event_logger",
    "prefect.server.worker_communication.cleanup_queue.memory",
    "sqlalchemy.engine.strategies",
    "uvicorn",
    # Imported by a run.
    "prefect.flow_engine",
)
READ_AGAIN = frozenset(
    {
        "PREFECT_API_AUTH_STRING",
        "PREFECT_API_BLOCKS_REGISTER_ON_START",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PREFECT_API_KEY",
        "PREFECT_API_URL",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "PREFECT_HOME",
        "PREFECT_LOCAL_STORAGE_PATH",
        "PREFECT_LOGGING_SETTINGS_PATH",
        "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION",
        "PREFECT_MEMO_STORE_PATH",
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_UI_API_URL",
        "PREFECT_UI_ENABLED",
    }
)
"""Variables that may differ between forked processes: no import-time state depends on them."""


def read_again(module: str) -> None:
    """Read Prefect's settings again, in a forked process that will run `module`."""
    if module.partition(".")[0] not in ("flows", "tests"):  # nobody else uses Prefect
        return
    from prefect.context import refresh_global_settings_context
    from prefect.logging import configuration

    refresh_global_settings_context()
    configuration.PROCESS_LOGGING_CONFIG.clear()
    configuration.setup_logging()


def _import() -> None:
    with TemporaryDirectory() as home:
        silent = Path(home, "logging.yml")
        silent.write_text("version: 1\ndisable_existing_loggers: false\n", encoding="utf-8")
        nothing = {
            "PREFECT_HOME": home,
            "PREFECT_LOGGING_SETTINGS_PATH": str(silent),
            "DO_NOT_TRACK": "1",
        }
        before = {name: os.environ[name] for name in nothing if name in os.environ}
        os.environ |= nothing
        for module in _IMPORTED:
            importlib.import_module(module)
        from sqlalchemy.orm import configure_mappers

        configure_mappers()
        for name in nothing:
            del os.environ[name]
        os.environ |= before


_import()
