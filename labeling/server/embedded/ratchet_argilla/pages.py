"""The web pages load nothing from other hosts, and know how labelling goes on by the keyboard.

Model answers are shown as markdown, in which an image would tell another server who reads it and
when; Argilla's own pages request fonts. Only the dialogue that imports a dataset from the Hub makes
requests. Each page gets `static/labelling.js` and `.css`. A campaign's lasting address, which leads
to the questions that are open, is a page of its own: `static/campaign.html`.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

from starlette.responses import FileResponse, PlainTextResponse, Response


class PageEvent(TypedDict, total=False):
    """What is read and changed of ASGI's scopes and messages."""

    type: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


Send = Callable[[PageEvent], Awaitable[None]]

POLICY = "; ".join(
    (
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # needed by its framework
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self' https://huggingface.co https://datasets-server.huggingface.co",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


_STATIC = Path(__file__).parent / "static"
_PREFIX = "/ratchet/static/"
_CAMPAIGN = "/campaign/"
_KINDS = {".css": "text/css", ".js": "text/javascript"}
_ADDED = "".join(
    (
        f'<link rel="stylesheet" href="{_PREFIX}labelling.css">',
        f'<script src="{_PREFIX}labelling.js" defer></script>',
    )
).encode()


class OwnContentOnly:
    """Argilla's app with a content security policy on its pages, not on its API, and with what
    Ratchet adds to them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
        elif scope["path"].startswith(_PREFIX):
            await _added_file(scope["path"])(scope, receive, send)
        elif scope["path"].startswith(_CAMPAIGN):
            more = {"content-security-policy": POLICY, "cache-control": "no-cache"}
            page = FileResponse(_STATIC / "campaign.html", headers=more)
            await page(scope, receive, send)
        else:
            # A compressed page cannot be added to.
            headers = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
            plain = scope if "." in scope["path"] else {**scope, "headers": headers}
            await self._app(plain, receive, _WithAdditions(send))


class _WithAdditions:
    """Sends a response with the policy; the head of an HTML page gets what is added."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_page = False

    async def __call__(self, message: PageEvent) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            lengths = [int(value) for name, value in headers if name == b"content-length"]
            kinds = [value for name, value in headers if name == b"content-type"]
            self._is_page = any(kind.startswith(b"text/html") for kind in kinds) and bool(lengths)
            if self._is_page:
                headers = [header for header in headers if header[0] != b"content-length"]
                headers.append((b"content-length", b"%d" % (lengths[0] + len(_ADDED))))
            headers.append((b"content-security-policy", POLICY.encode()))
            message["headers"] = headers
        elif self._is_page and message.get("body"):
            message["body"] = _after_doctype(message["body"])
            self._is_page = False
        await self._send(message)


def _after_doctype(body: bytes) -> bytes:
    end = body.find(b"<head>") + len(b"<head>") if b"<head>" in body else 0
    return body[:end] + _ADDED + body[end:]


def _added_file(path: str) -> Response:
    file = _STATIC / path.removeprefix(_PREFIX)
    if file.parent != _STATIC or not file.is_file():
        return PlainTextResponse("not found", 404)
    return FileResponse(file, media_type=_KINDS[file.suffix])
