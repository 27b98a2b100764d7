"""A proxy on the loopback address that harms some of the requests that pass through it."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HARMS = ("500", "500 after", "cut", "cut after", "late", "500 after", "cut after", "500 after")
"""Not passed on and answered 500; done, and answered 500 all the same; the same two with the
connection cut instead of an answer; done, and answered when nobody waits any more."""

LATE_S = 4.5


class FaultyProxy:
    """Passes requests on to `target`; `harm(method, path)` names what goes wrong, or None."""

    def __init__(
        self, target: str, harm: Callable[[str, str], str | None], late_s: float = LATE_S
    ) -> None:
        self.target = target
        self.late_s = late_s
        self.harm = harm
        self.harmed: Counter[str] = Counter()
        self.passed = 0
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        harm = self.harm(handler.command, handler.path)
        self.harmed[harm or "none"] += 1
        if harm == "500":
            return _say(handler, 500, b'{"detail": "injected"}')
        if harm == "cut":
            return _cut(handler)
        try:
            found = httpx.request(
                handler.command,
                self.target + handler.path,
                content=body,
                headers={k: v for k, v in handler.headers.items() if k.lower() in _PASSED_ON},
                timeout=60,
            )
        except httpx.HTTPError:  # the server is restarting
            return _cut(handler)
        self.passed += 1
        if harm == "cut after":
            return _cut(handler)
        if harm == "late":
            time.sleep(self.late_s)
        status = 500 if harm == "500 after" else found.status_code
        return _say(handler, status, found.content)


_PASSED_ON = {"x-argilla-api-key", "content-type", "authorization"}


@contextmanager
def proxied(
    target: str, harm: Callable[[str, str], str | None], late_s: float = LATE_S
) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(target, harm, late_s)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            proxy.answer(self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def every(count: int, *, offset: int = 0) -> Callable[[str, str], str | None]:
    """Harms one request in `count`, each time in the next of the HARMS."""
    lock, numbers = threading.Lock(), Counter[str]()

    def harm(method: str, path: str) -> str | None:
        with lock:
            numbers["requests"] += 1
            if (numbers["requests"] + offset) % count:
                return None
            numbers["harms"] += 1
            return HARMS[numbers["harms"] % len(HARMS)]

    return harm


def _say(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    try:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    except OSError:  # nobody waits any more
        handler.close_connection = True


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)
