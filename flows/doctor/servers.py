"""Ports, and the servers that the environment or the config names: Prefect, Argilla."""

import base64
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_core.errors import RatchetError
from dpo_core.web_guard import HEADER
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.prefect.credentials import CLIENT_VARIABLE, client_headers
from labeling.judges.config import asks_people
from labeling.server import DEFAULT_FOLDER, find_access

PREFECT_VARIABLE, ARGILLA_VARIABLE = "PREFECT_API_URL", "ARGILLA_API_URL"
PORTS: Mapping[int, str] = {4200: "ratchet ui", 6900: "ratchet label serve"}
_SHOWN = 400
_ARGILLA_MEASURED = "2.8.0"


def check_ports(ports: Mapping[int, str] = PORTS) -> Iterator[DoctorFinding]:
    """Commands that serve pages have their usual port; `ratchet run` itself takes any free one."""
    for port, command in ports.items():
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                yield note(
                    "ports",
                    f"port {port} cannot be used: {error.strerror}",
                    command,
                    f"Nothing, if that is yours; else `{command}` takes another with --port.",
                )
            else:
                yield ok("ports", f"port {port} is free", command)


def check_prefect(
    client: str | None, environment: Mapping[str, str] = os.environ, timeout_s: float = 2.0
) -> DoctorFinding:
    """The Prefect server that runs report to; without one named, Ratchet starts its own."""
    url = environment.get(PREFECT_VARIABLE)
    if not url:
        return ok("prefect", f"{PREFECT_VARIABLE} is not set: a run starts its own server")
    try:
        address = f"{url.rstrip('/')}/admin/version"
        server = str(_get(address, prefect_key(environment), timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(_SHOWN).decode(errors="replace").strip() or error.reason
        return problem(
            "prefect",
            f"the Prefect server at {url} answers {error.code}: {said}",
            PREFECT_VARIABLE,
            "It takes PREFECT_API_KEY or PREFECT_API_AUTH_STRING; that of a worker takes "
            f'{CLIENT_VARIABLE}=\'{{"{HEADER}": "…"}}\' with the secret in its credentials.json.',
        )
    except (OSError, ValueError) as error:
        return problem(
            "prefect",
            f"the Prefect server at {url} does not answer: {error}",
            PREFECT_VARIABLE,
            "Start it, unset the variable for a server of the run's own, or use --no-prefect.",
        )
    if client is not None and server.split(".")[:2] != client.split(".")[:2]:
        return note(
            "prefect",
            f"the Prefect server at {url} is {server}, the client here {client}",
            PREFECT_VARIABLE,
            "Bring both to the same version.",
        )
    return ok("prefect", f"the Prefect server at {url} answers, {server}", PREFECT_VARIABLE)


def prefect_key(environment: Mapping[str, str]) -> dict[str, str]:
    """What Prefect's client proves itself with. Raises BadInput for headers that are no JSON."""
    more = client_headers(environment)
    if key := environment.get("PREFECT_API_KEY"):
        return {**more, "Authorization": f"Bearer {key}"}
    if login := environment.get("PREFECT_API_AUTH_STRING"):
        return {**more, "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return more


def check_argilla(
    config: CampaignConfig | None,
    environment: Mapping[str, str] = os.environ,
    timeout_s: float = 2.0,
) -> DoctorFinding:
    """The server that people label on, where the config asks any or the environment names one."""
    asked = config is not None and asks_people(config.judge)
    if not asked and not environment.get(ARGILLA_VARIABLE):
        return ok("argilla", "nobody is asked, and no server is named")
    folder = config.asked.server_dir if config is not None else None
    make = problem if asked else note
    try:
        access = find_access(Path(folder) if folder else DEFAULT_FOLDER, environment)
    except RatchetError as error:
        return make("argilla", error.message, "people.server_dir", error.remedy)
    key = {"X-Argilla-Api-Key": access.api_key}
    try:
        server = _get(f"{access.url}/api/v1/version", {}, timeout_s)["version"]
        _get(f"{access.url}/api/v1/me", key, timeout_s)
    except urllib.error.HTTPError as error:
        return make(
            "argilla",
            f"Argilla at {access.url} answers {error.code}",
            ARGILLA_VARIABLE,
            "It takes the key of an owner: ARGILLA_API_KEY, or credentials.json beside the server.",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Start it with `ratchet label serve`."
        return make("argilla", f"Argilla at {access.url} does not answer: {error}", "", remedy)
    if server != _ARGILLA_MEASURED:
        what = f"Argilla at {access.url} is {server}; Ratchet was tested with {_ARGILLA_MEASURED}"
        return note("argilla", what, ARGILLA_VARIABLE, f"Prefer {_ARGILLA_MEASURED}.")
    return ok("argilla", f"Argilla at {access.url} answers, {server}")


def _get(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    """The JSON at `url`. Raises OSError where nobody answers, ValueError where it is none."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is no http address")
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())
