"""A server's address and keys, from the environment or from the server's folder."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpo_core.atomic import write_private
from dpo_core.errors import BadInput
from labeling.people.config import DEFAULT_FOLDER as DEFAULT_FOLDER

WORKSPACE = "ratchet"
"""Argilla workspace with the datasets and annotators of campaigns."""

URL_VARIABLE, KEY_VARIABLE = "ARGILLA_API_URL", "ARGILLA_API_KEY"
OWNER = "owner"


@dataclass(frozen=True)
class Access:
    """What a client needs; repr hides the key."""

    url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Credentials:
    """The owner of an embedded server, as in `credentials.json`."""

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
    """Access to the external server in `environment`, else to the embedded server of `folder`.

    Raises BadInput when there is neither, or when only one of the two variables is set.
    """
    url, key = environment.get(URL_VARIABLE), environment.get(KEY_VARIABLE)
    if url and key:
        return Access(url.rstrip("/"), key)
    if url or key:
        missing = KEY_VARIABLE if url else URL_VARIABLE
        raise BadInput(
            f"the environment only partly names an Argilla server: {missing} is not set",
            f"Set both {URL_VARIABLE} and {KEY_VARIABLE}, or neither to use an embedded server.",
        )
    credentials = read_credentials(folder)
    if credentials is None:
        raise BadInput(
            f"there is no Argilla server in {folder}",
            f"Start one with `ratchet label serve --dir {folder}`, "
            f"or set {URL_VARIABLE} and {KEY_VARIABLE} for one that runs elsewhere.",
        )
    return credentials.access


def credentials_path(folder: Path) -> Path:
    return folder / "credentials.json"


def read_credentials(folder: Path) -> Credentials | None:
    """The folder's credentials, or None. Raises BadInput for a file with other content."""
    path = credentials_path(folder)
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise BadInput(
            f"{path} does not hold url, username, password and api_key",
            "Remove it: the next `ratchet label serve` creates new ones and keeps all data.",
        ) from None


def write_credentials(folder: Path, credentials: Credentials) -> None:
    write_private(credentials_path(folder), json.dumps(asdict(credentials), indent=1) + "\n")


def new_credentials() -> Credentials:
    """Random credentials for a server without address."""
    return Credentials("", OWNER, new_password(), secrets.token_urlsafe(32))


def new_password() -> str:
    return secrets.token_urlsafe(18)


def auth_secret(folder: Path) -> str:
    """The secret that signs sessions; kept, since a new one would sign everybody out."""
    path = folder / "auth-secret"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return path.read_text(encoding="utf-8")
