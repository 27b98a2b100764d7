"""Where a server is and what opens it: from the environment, or from a server's folder."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpo_core.atomic import write_private
from dpo_core.errors import BadInput

WORKSPACE = "ratchet"
"""The workspace of Argilla that holds the datasets of campaigns and their annotators."""

DEFAULT_FOLDER = Path("argilla")
"""Where `ratchet label serve` keeps the server of this directory."""

URL_VARIABLE, KEY_VARIABLE = "ARGILLA_API_URL", "ARGILLA_API_KEY"
OWNER = "owner"


@dataclass(frozen=True)
class Access:
    """What a client needs. The key is not shown when this is printed."""

    url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Credentials:
    """The owner of an embedded server, as `credentials.json` holds it."""

    url: str
    username: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)

    @property
    def access(self) -> Access:
        return Access(self.url, self.api_key)


def find_access(
    folder: Path = DEFAULT_FOLDER, environment: Mapping[str, str] = os.environ
) -> Access:
    """The external server of the environment if it names one, else the embedded one of `folder`.

    Raises BadInput when there is neither, or half of one.
    """
    url, key = environment.get(URL_VARIABLE), environment.get(KEY_VARIABLE)
    if url and key:
        return Access(url.rstrip("/"), key)
    if url or key:
        missing = KEY_VARIABLE if url else URL_VARIABLE
        raise BadInput(
            f"the environment names half of an Argilla server: {missing} is not set",
            f"Set {URL_VARIABLE} and {KEY_VARIABLE} both, or neither for a server of your own.",
        )
    found = read_credentials(folder)
    if found is None:
        raise BadInput(
            f"there is no Argilla server in {folder}",
            f"Start one with `ratchet label serve --dir {folder}`, "
            f"or set {URL_VARIABLE} and {KEY_VARIABLE} for one that runs elsewhere.",
        )
    return found.access


def credentials_path(folder: Path) -> Path:
    return folder / "credentials.json"


def read_credentials(folder: Path) -> Credentials | None:
    """None when there are none yet. Raises BadInput for a file that is no such thing."""
    path = credentials_path(folder)
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise BadInput(
            f"{path} does not hold url, username, password and api_key",
            "Remove it: the next `ratchet label serve` makes new ones and keeps all data.",
        ) from None


def write_credentials(folder: Path, credentials: Credentials) -> None:
    write_private(credentials_path(folder), json.dumps(asdict(credentials), indent=1) + "\n")


def new_credentials() -> Credentials:
    """Random ones, of a server that has no address yet."""
    return Credentials("", OWNER, new_password(), secrets.token_urlsafe(32))


def new_password() -> str:
    return secrets.token_urlsafe(18)


def auth_secret(folder: Path) -> str:
    """What signs sessions: made once, or everybody would be signed out at each start."""
    path = folder / "auth-secret"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_text(encoding="utf-8")
