"""The parent's request, and the settings of argilla-server that follow from it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

ENGINE = "ratchet-sqlite"
"""The name under which the search engine is registered."""

_SQLITE_TIMEOUT_S = 30


@dataclass(frozen=True)
class Request:
    """The request from the parent's pipe: where to serve, for whom, and the secrets."""

    folder: str
    host: str
    port: int
    open_to_others: bool
    username: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)
    auth_secret: str = field(repr=False)
    workspace: str
    version: str
    guard: str
    """File of dpo_core.web_guard, which needs only the standard library."""
    trusted: list[str]
    """Names besides its own addresses that browsers may use for the server."""

    @property
    def database(self) -> Path:
        return Path(self.folder, "argilla.db")

    @property
    def agreement(self) -> Path:
        return Path(self.folder, "agreement")

    @property
    def journal(self) -> Path:
        return Path(self.folder, "jobs")

    def set_environment(self) -> None:
        """Set the environment that argilla-server reads its settings from when imported."""
        for name in [name for name in os.environ if name.startswith("ARGILLA_")]:
            del os.environ[name]  # meant for clients, or for another server
        os.environ |= {
            "ARGILLA_HOME_PATH": self.folder,
            # Relative to the current folder, since a URL cannot hold every folder name.
            "ARGILLA_DATABASE_URL": "sqlite+aiosqlite:///argilla.db?check_same_thread=False",
            "ARGILLA_SEARCH_ENGINE": ENGINE,
            "ARGILLA_AUTH_SECRET_KEY": self.auth_secret,
            "ARGILLA_DATABASE_SQLITE_TIMEOUT": str(_SQLITE_TIMEOUT_S),
            "ARGILLA_CORS_ORIGINS": json.dumps([]),  # its own pages need none
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # it must not use the user's token
        }
        os.chdir(self.folder)
