"""Access control for the servers that Ratchet starts: one ASGI middleware for all of them.

Every page open in a browser of this machine can reach a server on the loopback address. So the
guard lets a request through only if it names the server by a trusted host and does not come from a
page of another origin. Where the server has a secret, the request must also prove that it knows it,
by a header, or by a cookie that a single-use link sets.

It imports only the standard library: Argilla's server, whose environment has no Ratchet, loads this
file by its path. Decided in docs/adr/0023-servers.md.
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
"""Header that holds the secret in requests of programs."""

LINK_PATH = "/ratchet/link"
"""POST with the secret: returns the path of a single-use link that signs a browser in."""

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
    """A refusal: its HTTP status and its one sentence of text."""

    status: int
    sentence: str


@dataclass
class Guard:
    """An ASGI app that passes permitted requests on to `app`.

    trusted: names of the server besides its own addresses, `host` or `host:port`.
    secret: requests must prove that they know it; None where the app has its own users.
    remedy: what to do without the secret, as the end of a sentence.
    """

    app: App
    trusted: Iterable[str] = ()
    secret: str | None = field(default=None, repr=False)
    remedy: str = "ask who started it"
    _links: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    """Token → (expiry on the monotonic clock, path that the link leads to)."""

    def __post_init__(self) -> None:
        self._entries = frozenset(name.lower() for name in self.trusted)
        self._names = frozenset(map(_without_port, self._entries))
        if self.secret is not None:
            self._cookie = f"ratchet-{sha256(self.secret.encode()).hexdigest()[:8]}"
            self._session = hmac.new(self.secret.encode(), b"browser", sha256).hexdigest()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _read(scope["headers"])
        refusal = self._check_origin(scope, headers)
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

    def _check_origin(self, scope: Message, headers: Mapping[bytes, list[str]]) -> Refusal | None:
        """The refusal of a request with an untrusted Host or origin, or None."""
        hosts = headers.get(b"host", [])
        if len(hosts) != 1:
            return Refusal(421, "A request must name one Host.")
        host = hosts[0].strip().lower()
        if not self._is_trusted(host, scope.get("server")):
            name = _safe_name(_without_port(host))
            return Refusal(421, f"This server is not known as {name}: {_allow(name)}.")
        for origin in headers.get(b"origin", []):
            if not self._is_own(origin.lower(), host):
                name = _safe_name(origin.lower().partition("://")[2])
                return Refusal(403, f"Pages of {name} may not use this server: {_allow(name)}.")
        if _is_cross_site(scope, headers):
            return Refusal(
                403,
                "A page of another origin may not use this server: open its address directly, or "
                "start the server with --allow-host NAME if your proxy gives it another name.",
            )
        return None

    def _is_trusted(self, host: str, server: tuple[str, int | None] | None) -> bool:
        """Whether Host is a trusted name, or the server's own or a loopback address.

        A foreign name that resolves to this machine is still sent as that name, so it is refused.
        """
        name = _without_port(host)
        if name in self._names or is_loopback_name(name):
            return True
        address = _address(name)
        return address is not None and server is not None and address == _address(server[0])

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
        """Create a sign-in link to the page in the query's `to`; returns its path."""
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
        """Set the cookie, with a page that forwards by itself.

        After a redirect a strict cookie would not be sent if the link was on another site's page,
        such as a web mail.
        """
        token = scope["path"].removeprefix(_SIGN_IN)
        expires, to = (0.0, "/")
        if scope["method"] == "GET":
            expires, to = self._links.pop(token, (0.0, "/"))
        if expires < time.monotonic() and not self._knows(headers):
            sentence = f"This link was already used or has expired: {self.remedy}."
            await _refuse(scope, send, Refusal(403, sentence))
            return
        page = (
            f'<!doctype html><title>Ratchet</title><meta http-equiv="refresh" content="0;url={to}">'
            f'<p>Signed in: <a href="{to}">continue</a>.'
        )
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{self._cookie}={self._session}; Path=/; Max-Age={_COOKIE_LIVES_S}"
        more = {
            "set-cookie": f"{cookie}; HttpOnly; SameSite=Strict{secure}",
            "content-type": "text/html; charset=utf-8",
        }
        await _answer(send, HTTPStatus.OK, page, more)


def is_loopback_name(host: str) -> bool:
    """Whether `host`, without a port, always means the machine that asks: RFC 6761 keeps localhost
    and every name below it for that."""
    address = _address(host)
    return (
        host == "localhost" or host.endswith(".localhost") or bool(address and address.is_loopback)
    )


def _read(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[str]]:
    """The values of the headers that the guard uses."""
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _READ:
            values.setdefault(name, []).append(value.decode("latin-1"))
    return values


def _is_cross_site(scope: Message, headers: Mapping[bytes, list[str]]) -> bool:
    """Whether a browser marks the request as one of another site's page.

    Images, scripts and frames send no Origin; pages on other ports of this machine even send the
    cookie. Following a link is allowed.
    """
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
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _equal(text: str, secret: str) -> bool:
    return hmac.compare_digest(text.encode(), secret.encode())


def _safe_name(host: str) -> str:
    """The host if it is a well-formed name, which is safe to repeat; otherwise NAME."""
    return host if _NAME.fullmatch(host) else "NAME"


def _allow(name: str) -> str:
    return f"start it with --allow-host {name} if your proxy gives it that name"


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
