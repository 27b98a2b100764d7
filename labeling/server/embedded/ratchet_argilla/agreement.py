"""How often annotators were right on pairs whose answer is known, each for their own eyes.

PUT /ratchet/agreement/DATASET with the owner's API key keeps what it says of each user name in the
server's folder. GET with an access token of Argilla's returns what is said of the token's user.
"""

import hmac
import json
import re
from pathlib import Path
from typing import Any

from argilla_server.errors import UnauthorizedError
from argilla_server.security.authentication.jwt import JWT
from starlette.requests import Request as WebRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response

_ADDRESS = re.compile(r"/ratchet/agreement/([0-9a-f-]{36})")
_AT_MOST = 1_000_000
"""Bytes of what is said of all users."""


class Agreement:
    """An ASGI app that answers these addresses, and passes all others on to `app`."""

    def __init__(self, app: Any, api_key: str, folder: Path) -> None:
        self._app = app
        self._key = api_key
        self._folder = folder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match = _ADDRESS.fullmatch(scope.get("path", ""))
        if scope["type"] != "http" or match is None:
            await self._app(scope, receive, send)
            return
        request, file = WebRequest(scope, receive), self._folder / f"{match[1]}.json"
        answer = (
            await self._keep(request, file) if scope["method"] == "PUT" else _own(request, file)
        )
        await answer(scope, receive, send)

    async def _keep(self, request: WebRequest, file: Path) -> Response:
        key = request.headers.get("X-Argilla-Api-Key", "")
        if not hmac.compare_digest(key.encode(), self._key.encode()):
            return PlainTextResponse("Only the owner of this server says this.", 403)
        body = await request.body()
        if len(body) > _AT_MOST or not isinstance(json.loads(body), dict):
            return PlainTextResponse("This is no agreement of user names.", 422)
        self._folder.mkdir(exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_bytes(body)
        beside.replace(file)
        return Response(status_code=204)


def _own(request: WebRequest, file: Path) -> Response:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        name = JWT.decode(token if scheme == "Bearer" else "").get("username")
    except UnauthorizedError:
        return PlainTextResponse("Sign in first.", 401)
    everybody = json.loads(file.read_bytes()) if file.exists() else {}
    return JSONResponse(everybody.get(name), headers={"cache-control": "no-store"})
