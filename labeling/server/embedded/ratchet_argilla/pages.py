"""The web pages load nothing from other hosts.

Model answers are shown as markdown, in which an image would tell another server who reads it and
when; Argilla's own pages request fonts. Only the dialogue that imports a dataset from the Hub makes
requests.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypedDict


class PageEvent(TypedDict, total=False):
    """What is read and changed of ASGI's scopes and messages."""

    type: str
    path: str
    headers: list[tuple[bytes, bytes]]


Receive = Callable[[], Awaitable[PageEvent]]
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


class OwnContentOnly:
    """Argilla's app with a content security policy on its pages, not on its API."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: PageEvent, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: PageEvent) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        page = scope["type"] == "http" and not scope["path"].startswith("/api/")
        await self._app(scope, receive, send_with_policy if page else send)
