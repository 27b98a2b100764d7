"""Label servers at the console's address and port, each under a host name of its own.

The name keeps their pages, which show the text of models, in another origin than the console: no
script there can read the console's pages or press their buttons. Browsers take every name below
`localhost` for their own machine, so that one port is all that a tunnel needs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from dpo_core.hashing import content_id
from dpo_core.web_guard import is_loopback_name
from labeling.server.credentials import DEFAULT_FOLDER, Credentials, read_credentials

_FIRST, _BELOW = "labels", ".localhost"
_HASH = 8
_TIMEOUT_S = 60.0
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


@dataclass
class LabelNames:
    """Host name → folder of the label server with that name. folder: in which the campaigns run."""

    folder: Path
    _places: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places[_FIRST + _BELOW] = self._usual

    @property
    def _usual(self) -> Path:
        return (self.folder / DEFAULT_FOLDER).resolve()

    def address(self, place: Path, request: Request) -> str | None:
        """Where whoever sent `request` reaches the label server of `place`; None where their
        browser may not find its name."""
        host, port, place = request.url.hostname or "", request.url.port, place.resolve()
        if request.url.scheme != "http" or not is_loopback_name(host):
            return None
        mark = "" if place == self._usual else f"-{content_id('labels', str(place))[:_HASH]}"
        name = f"{_FIRST}{mark}{_BELOW}"
        self._places[name] = place
        return f"http://{name}:{port}" if port else f"http://{name}"

    def find(self, name: str) -> Credentials | None:
        place = self._places.get(name)
        credentials = read_credentials(place) if place is not None else None
        return credentials if credentials is not None and credentials.url else None


@dataclass
class LabelProxy:
    """An ASGI app: requests for the name of a label server go there, all others to `app`.

    The label server's own guard looks at Host and origin, and its users sign in there.
    """

    app: Any
    names: LabelNames

    def __post_init__(self) -> None:
        none_idle = httpx.Limits(max_keepalive_connections=0)  # a new one costs nothing on loopback
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, limits=none_idle)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = Request(scope).url.hostname or "" if scope["type"] == "http" else ""
        if name.startswith(_FIRST) and name.endswith(_BELOW):
            response = await self._forward(name, Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _forward(self, name: str, request: Request) -> Response:
        credentials = self.names.find(name)
        if credentials is None:
            return PlainTextResponse("No label server has this name: open it by Label.", 404)
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        asked = self._client.build_request(
            request.method,
            credentials.url + path,
            headers=_passed_on(request.headers.raw),
            content=None if request.method in ("GET", "HEAD") else request.stream(),
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.HTTPError:
            return PlainTextResponse(
                f"The label server at {credentials.url} does not answer: start it with "
                "`ratchet up` or `ratchet label serve`.",
                502,
            )
        response = StreamingResponse(
            answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = _passed_on(answer.headers.raw)
        return response


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]
