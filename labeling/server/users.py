"""Annotators, through the HTTP interface of any Argilla server."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from dpo_core.errors import BadInput, LabelServerFailed
from labeling.server.credentials import WORKSPACE, Access, new_password

_TIMEOUT_S = 30.0


def add_user(access: Access, name: str, workspace: str = WORKSPACE) -> str:
    """Make an annotator who sees the datasets of `workspace`; returns the random password.

    Raises BadInput for a name that is empty or taken, a key that does not open the server, or no
    server at the address.
    """
    if not name.strip():
        raise BadInput("a user needs a name", "For example: ratchet label user add ann")
    if any(user["username"] == name for user in _items(access, "users")):
        raise BadInput(f"there is a user {name!r} already", "Choose another name.")
    place = _workspace(access, workspace)
    password = new_password()
    user = call(
        access,
        "POST",
        "users",
        {"username": name, "first_name": name, "password": password, "role": "annotator"},
    )
    call(access, "POST", f"workspaces/{place}/users", {"user_id": user["id"]})
    return password


def _workspace(access: Access, name: str) -> str:
    """Its id; made if there is none, as on an external server."""
    found = [place["id"] for place in _items(access, "me/workspaces") if place["name"] == name]
    return str(found[0] if found else call(access, "POST", "workspaces", {"name": name})["id"])


def _items(access: Access, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = call(access, "GET", path)["items"]
    return items


def call(
    access: Access, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the server answers to a request below /api/v1/.

    Raises BadInput when the key does not open it or nobody answers, LabelServerFailed otherwise.
    """
    request = urllib.request.Request(
        f"{access.url}/api/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Argilla-Api-Key": access.api_key, "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise _refused(access, path, error) from None
    except OSError as error:
        raise BadInput(
            f"no Argilla server answers at {access.url}: {error}",
            "Start it with `ratchet label serve`, then type the same command again.",
        ) from None
    return found


def _refused(access: Access, path: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in (401, 403):
        return BadInput(
            f"the Argilla server at {access.url} refuses the API key for {path}",
            "Adding users takes the key of an owner.",
        )
    said = error.read(500).decode(errors="replace")
    return LabelServerFailed(f"the Argilla server at {access.url} answered {error.code}: {said}")
