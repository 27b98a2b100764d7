"""Checks of ports and of the servers in environment and config: Prefect, Argilla."""

import base64
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from dpo_core.errors import RatchetError
from dpo_core.port_owner import describe_port_owner
from dpo_core.server_keys import CLIENT_VARIABLE, client_headers
from dpo_core.web_guard import HEADER
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, note, ok, problem
from labeling.judges.config import asks_people
from labeling.people.config import PeopleConfig
from labeling.server import find_access

PREFECT_VARIABLE, ARGILLA_VARIABLE = "PREFECT_API_URL", "ARGILLA_API_URL"
PORTS: Mapping[int, str] = {4200: "ratchet ui", 6900: "ratchet label serve"}
_SHOWN = 400
_ARGILLA = "2.8.0"


def check_ports(ports: Mapping[int, str] = PORTS) -> Iterator[DoctorFinding]:
    """Whether the default ports of serving commands are free. `ratchet run` takes any free one."""
    for port, command in ports.items():
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                yield note(
                    "ports",
                    f"port {port} cannot be used: {error.strerror}{describe_port_owner(port)}",
                    command,
                    f"If another program uses it, give `{command}` a different one with --port.",
                )
            else:
                yield ok("ports", f"port {port} is free", command)


def check_prefect(
    client: str | None, environment: Mapping[str, str] = os.environ, timeout_s: float = 2.0
) -> DoctorFinding:
    """Whether the Prefect server of the environment answers, in the client's version."""
    url = environment.get(PREFECT_VARIABLE)
    if not url:
        return ok("prefect", f"{PREFECT_VARIABLE} is not set; a run starts its own server")
    try:
        address = f"{url.rstrip('/')}/admin/version"
        server = str(_get(address, prefect_key(environment), timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            reply = error.read(_SHOWN).decode(errors="replace").strip() or error.reason
        return problem(
            "prefect",
            f"the Prefect server at {url} answers {error.code}: {reply}",
            PREFECT_VARIABLE,
            "Set PREFECT_API_KEY or PREFECT_API_AUTH_STRING; for a worker's server, set "
            f'{CLIENT_VARIABLE}=\'{{"{HEADER}": "…"}}\' with the secret from its credentials.json.',
        )
    except (OSError, ValueError) as error:
        return problem(
            "prefect",
            f"the Prefect server at {url} does not answer: {error}",
            PREFECT_VARIABLE,
            f"Start it, unset {PREFECT_VARIABLE} so that the run starts its own, or use "
            "--no-prefect.",
        )
    if client is not None and server.split(".")[:2] != client.split(".")[:2]:
        return note(
            "prefect",
            f"the Prefect server at {url} is version {server}, the client here {client}",
            PREFECT_VARIABLE,
            "Install the same version on both sides.",
        )
    return ok("prefect", f"the Prefect server at {url} answers, version {server}", PREFECT_VARIABLE)


def prefect_key(environment: Mapping[str, str]) -> dict[str, str]:
    """The headers that authenticate Prefect's client. Raises BadInput for malformed headers."""
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
    """Whether the labelling server answers, if config or environment name one."""
    asked = config is not None and asks_people(config.judge)
    if not asked and not environment.get(ARGILLA_VARIABLE):
        return ok("argilla", "not needed: the config asks no people")
    people = config.people_config if config is not None else PeopleConfig()
    make = problem if asked else note
    try:
        access = find_access(people.server_folder, environment)
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
            "Give an owner's key: ARGILLA_API_KEY, or credentials.json beside the server.",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "Start it with `ratchet label serve`."
        return make("argilla", f"Argilla at {access.url} does not answer: {error}", "", remedy)
    if server != _ARGILLA:
        what = f"Argilla at {access.url} is version {server}; Ratchet is tested with {_ARGILLA}"
        return note("argilla", what, ARGILLA_VARIABLE, f"Prefer version {_ARGILLA}.")
    return ok("argilla", f"Argilla at {access.url} answers, version {server}")


def _get(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    """The JSON at `url`. Raises OSError if nothing answers, ValueError if it is not JSON."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("it is not an http address")
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return json.loads(answer.read())
