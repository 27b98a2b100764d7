"""Single-use links that sign a browser in, for whoever knows the owner's API key.

POST /ratchet/link with that key, an access token of Argilla's and the page that the link leads to
returns the link's path. Argilla's pages keep their session in the browser's storage, so the link
answers with a page that puts it there and goes on.
"""

import hmac
import json
import secrets
import time
from typing import Any

from starlette.requests import Request as WebRequest
from starlette.responses import HTMLResponse, PlainTextResponse, Response

_LINK, _SIGN_IN = "/ratchet/link", "/ratchet/sign-in/"
_LIVES_S = 60.0
_AT_MOST = 100
_SESSION_S = 24 * 3600


class SignIn:
    """An ASGI app that answers these two addresses, and passes all others on to `app`."""

    def __init__(self, app: Any, api_key: str) -> None:
        self._app = app
        self._key = api_key
        self._links: dict[str, tuple[float, str, str]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == _LINK:
            response = await self._new_link(WebRequest(scope, receive))
        elif scope["type"] == "http" and path.startswith(_SIGN_IN):
            response = self._page(path.removeprefix(_SIGN_IN), scope["method"])
        else:
            await self._app(scope, receive, send)
            return
        await response(scope, receive, send)

    async def _new_link(self, request: WebRequest) -> Response:
        key = request.headers.get("X-Argilla-Api-Key", "")
        if request.method != "POST" or not hmac.compare_digest(key.encode(), self._key.encode()):
            return PlainTextResponse("Only the owner of this server makes links.", 403)
        asked = await request.json()
        while len(self._links) >= _AT_MOST:
            del self._links[next(iter(self._links))]
        name = secrets.token_urlsafe(24)
        until = time.monotonic() + _LIVES_S
        self._links[name] = until, str(asked["token"]), str(asked["to"])
        return PlainTextResponse(_SIGN_IN + name)

    def _page(self, name: str, method: str) -> Response:
        none = 0.0, "", ""
        until, token, to = self._links.pop(name, none) if method == "GET" else none
        if until < time.monotonic():
            return PlainTextResponse("This link was already used or has expired.", 403)
        session = {
            "auth.strategy": "local",
            "auth._token.local": f"Bearer {token}",
            "auth._token_expiration.local": str(int((time.time() + _SESSION_S) * 1000)),
        }
        script = (
            f"for (const [k, v] of Object.entries({_safe(session)})) localStorage.setItem(k, v);"
            f"location.replace({_safe(to)});"
        )
        page = f"<!doctype html><title>Argilla</title><script>{script}</script>"
        return HTMLResponse(page, headers={"cache-control": "no-store"})


def _safe(value: object) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")
