"""Add annotators through the HTTP API of any Argilla server."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from dpo_core.errors import BadInput, LabelServerFailed
from labeling.server.credentials import WORKSPACE, Access, Credentials, new_password

_TIMEOUT_S = 30.0


def add_user(access: Access, name: str, workspace: str = WORKSPACE) -> str:
    """Create an annotator who sees the datasets of `workspace`; returns a random password.

    Raises BadInput for a name that is empty or taken, a refused API key, or when no server answers.
    """
    if not name.strip():
        raise BadInput("a user needs a name", "For example: ratchet label user add ann")
    if any(user["username"] == name for user in call(access, "GET", "users")["items"]):
        raise BadInput(f"user {name!r} already exists", "Choose another name.")
    place = _workspace(access, workspace)
    password = new_password()
    account = {"username": name, "first_name": name, "password": password, "role": "annotator"}
    user = call(access, "POST", "users", account)
    call(access, "POST", f"workspaces/{place}/users", {"user_id": user["id"]})
    return password


def sign_in_link(credentials: Credentials, to: str) -> str:
    """A link that signs one browser in as the owner, within a minute; it leads to the path `to` of
    an embedded server.

    Raises BadInput when no server answers, LabelServerFailed when it refuses.
    """
    url = credentials.url
    login = {"username": credentials.username, "password": credentials.password}
    form = urllib.parse.urlencode(login).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/token", form, timeout=_TIMEOUT_S) as response:
            token = json.load(response)["access_token"]
        request = urllib.request.Request(
            f"{url}/ratchet/link",
            json.dumps({"token": token, "to": to}).encode(),
            {"X-Argilla-Api-Key": credentials.api_key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return url + str(response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(credentials.access, "token", error) from None
    except OSError as error:
        raise BadInput(
            f"no Argilla server answers at {url}: {error}",
            "Start it with `ratchet up` or `ratchet label serve`.",
        ) from None


def _workspace(access: Access, name: str) -> str:
    """Id of the workspace; created if missing, as on an external server."""
    places = call(access, "GET", "me/workspaces")["items"]
    ids = [place["id"] for place in places if place["name"] == name]
    return str(ids[0] if ids else call(access, "POST", "workspaces", {"name": name})["id"])


def call(access: Access, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
    """The server's JSON response to a request below /api/v1/.

    Raises BadInput for a refused API key or no response, LabelServerFailed for other errors.
    """
    request = urllib.request.Request(
        f"{access.url}/api/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Argilla-Api-Key": access.api_key, "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:  # closes the connection
            raise _refused(access, path, error) from None
    except OSError as error:
        raise BadInput(
            f"no Argilla server answers at {access.url}: {error}",
            "Start it with `ratchet label serve`, then run the same command again.",
        ) from None


def _refused(access: Access, path: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in (401, 403):
        return BadInput(
            f"the Argilla server at {access.url} refuses the API key for {path}",
            "Adding users needs the key of an owner.",
        )
    text = error.read(500).decode(errors="replace")
    return LabelServerFailed(f"the Argilla server at {access.url} answered {error.code}: {text}")
