"""Who may ask a server that Ratchet starts: one ASGI middleware for all of them.

A server on the loopback address is within reach of every page that is open in a browser of this
machine. So the guard lets through what names the server by a trusted host, does not come from a
page of another origin and, where the server has a secret, proves that it knows it: by a header, or
by a cookie that a link sets which works once.

It imports nothing but the standard library: Argilla's server, whose environment holds nothing of
Ratchet, loads this file by its path. Decided in docs/adr/0023-servers.md.
"""

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADER = "X-Ratchet-Key"
"""Holds the secret in requests of programs."""

LINK_PATH = "/ratchet/link"
"""POST with the secret: answers the path of a link that signs one browser in, once."""

_SIGN_IN = "/ratchet/sign-in/"
_LINK_LIVES_S = 24 * 3600.0
_LINKS_AT_MOST = 100
_COOKIE_LIVES_S = 30 * 24 * 3600
_READ = frozenset({b"host", b"origin", b"cookie", HEADER.lower().encode()}) | {
    b"sec-fetch-site",
    b"sec-fetch-mode",
    b"sec-fetch-dest",
}
_NAME = re.compile(r"([a-z0-9._-]{1,253}|\[?[0-9a-f:.]{2,45}\]?)(:\d{1,5})?")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")


@dataclass(frozen=True)
class Refusal:
    """The status of the answer, and the one sentence that it consists of."""

    status: int
    sentence: str


@dataclass
class Guard:
    """`app`, for those who may ask it. Itself an ASGI app.

    trusted: names that the server is known by besides its own addresses, `host` or `host:port`.
    secret: what requests must prove to know; None where the app has users of its own.
    remedy: what to do without it, the rest of a sentence.
    """

    app: App
    trusted: Iterable[str] = ()
    secret: str | None = field(default=None, repr=False)
    remedy: str = "ask who started it"
    _links: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    """Token → when it expires on the monotonic clock, and where it leads."""

    def __post_init__(self) -> None:
        self._entries = frozenset(name.lower() for name in self.trusted)
        self._names = frozenset(map(_without_port, self._entries)) | {"localhost"}
        if self.secret is not None:
            self._cookie = f"ratchet-{sha256(self.secret.encode()).hexdigest()[:8]}"
            self._session = hmac.new(self.secret.encode(), b"browser", sha256).hexdigest()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _read(scope["headers"])
        refusal = self._foreign(scope, headers)
        if refusal is None and self.secret is not None:
            if scope["path"].startswith(_SIGN_IN) and scope["type"] == "http":
                await self._sign_in(scope, headers, send)
                return
            if not self._knows(headers):
                refusal = Refusal(403, f"The secret of this server is missing: {self.remedy}.")
            elif scope["path"] == LINK_PATH and scope.get("method") == "POST":
                await _answer(send, HTTPStatus.OK, self._new_link(scope), {})
                return
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await _refuse(scope, send, refusal)

    def _foreign(self, scope: Message, headers: Mapping[bytes, list[str]]) -> Refusal | None:
        """Why the request is refused whatever it proves to know: by its Host or its origin."""
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            return Refusal(421, "A request must name one Host.")
        host = hosts[0].strip().lower()
        if not self._is_trusted(host, scope.get("server")):
            name = _shown(_without_port(host))
            return Refusal(421, f"This server is not known as {name}: {_allow(name)}.")
        for origin in headers.get(b"origin", []):
            if not self._is_own(origin.lower(), host):
                name = _shown(origin.lower().partition("://")[2])
                return Refusal(403, f"Pages of {name} may not use this server: {_allow(name)}.")
        if _asked_by_a_page_elsewhere(scope, headers):
            return Refusal(
                403,
                "A page of another origin may not use this server: open the address by itself, or "
                "start the server with --allow-host NAME for the name that a proxy of yours "
                "gives it.",
            )
        return None

    def _is_trusted(self, host: str, server: tuple[str, int | None] | None) -> bool:
        """By a name that was given, or by the address itself: that the connection came in by, or
        one of the loopback. Whoever makes a name of theirs point here still sends that name."""
        name = _without_port(host)
        if name in self._names:
            return True
        address = _address(name)
        if address is None:
            return False
        return address.is_loopback or (server is not None and address == _address(server[0]))

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.partition("://")
        return scheme in ("http", "https") and (place == host or place in self._entries)

    def _knows(self, headers: Mapping[bytes, list[str]]) -> bool:
        assert self.secret is not None
        keys = headers.get(HEADER.lower().encode(), [])
        if any(_equal(key, self.secret) for key in keys):
            return True
        cookies = (part.strip() for line in headers.get(b"cookie", []) for part in line.split(";"))
        mine = (part.partition("=") for part in cookies)
        return any(name == self._cookie and _equal(value, self._session) for name, _, value in mine)

    def _new_link(self, scope: Message) -> str:
        """The path of a link to the page that the query's `to` names."""
        to = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("to", ["/"])[0]
        if not _PATH.fullmatch(to) or to.startswith("//"):
            to = "/"
        while len(self._links) >= _LINKS_AT_MOST:
            del self._links[next(iter(self._links))]
        token = secrets.token_urlsafe(24)
        self._links[token] = time.monotonic() + _LINK_LIVES_S, to
        return _SIGN_IN + token

    async def _sign_in(
        self, scope: Message, headers: Mapping[bytes, list[str]], send: Send
    ) -> None:
        """Set the cookie. The page leads on by itself: after a redirect a strict cookie would stay
        away where the link stood in somebody else's page, such as a mail."""
        token = scope["path"].removeprefix(_SIGN_IN)
        expires, to = (0.0, "/")
        if scope["method"] == "GET":
            expires, to = self._links.pop(token, (0.0, "/"))
        if expires < time.monotonic() and not self._knows(headers):
            sentence = f"This link was used already or is too old: {self.remedy}."
            await _refuse(scope, send, Refusal(403, sentence))
            return
        page = (
            f'<!doctype html><title>Ratchet</title><meta http-equiv="refresh" content="0;url={to}">'
            f'<p>Signed in: <a href="{to}">go on</a>.'
        )
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{self._cookie}={self._session}; Path=/; Max-Age={_COOKIE_LIVES_S}"
        more = {
            "set-cookie": f"{cookie}; HttpOnly; SameSite=Strict{secure}",
            "content-type": "text/html; charset=utf-8",
        }
        await _answer(send, HTTPStatus.OK, page, more)


def _read(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    """The values of the headers that the guard looks at."""
    found: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _READ:
            found.setdefault(name, []).append(value.decode("latin-1"))
    return found


def _asked_by_a_page_elsewhere(scope: Message, headers: Mapping[bytes, list[str]]) -> bool:
    """What browsers say of requests without an Origin: images, scripts and frames of other pages,
    also of other ports of this machine, which get the cookie. Following a link is none of these."""
    site = headers.get(b"sec-fetch-site", ["none"])[0]
    if site not in ("cross-site", "same-site"):
        return False
    mode, dest = (headers.get(name, [""])[0] for name in (b"sec-fetch-mode", b"sec-fetch-dest"))
    return not (mode == "navigate" and dest == "document" and scope.get("method") == "GET")


def _without_port(host: str) -> str:
    """`name` of `name:port`, without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).removesuffix(".")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _equal(text: str, secret: str) -> bool:
    return hmac.compare_digest(text.encode(), secret.encode())


def _shown(host: str) -> str:
    """What a request says of itself, if that is a name."""
    return host if _NAME.fullmatch(host) else "NAME"


def _allow(name: str) -> str:
    return f"start it with --allow-host {name} if a proxy of yours gives it that name"


async def _refuse(scope: Message, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "http":
        await _answer(send, refusal.status, refusal.sentence, {})
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, refusal.status, refusal.sentence, {}, "websocket.http.response")
    else:  # the server answers HTTP 403
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})


async def _answer(
    send: Send, status: int, text: str, more: Mapping[str, str], kind: str = "http.response"
) -> None:
    body = f"{text}\n".encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        **more,
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{kind}.start", "status": int(status), "headers": encoded})
    await send({"type": f"{kind}.body", "body": body})
