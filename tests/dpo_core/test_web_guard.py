"""The guard of every server, asked directly: what it lets through, and what it says else."""

import ast
import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from dpo_core import web_guard
from dpo_core.web_guard import HEADER, LINK_PATH, Guard

SECRET = "a secret of forty characters, or so it is"
HERE = ("127.0.0.1", 4200)
LAN = ("192.168.1.5", 4200)
NO_SECRET = 403, "The secret of this server is missing: type x.\n"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def guard(*trusted: str, secret: str | None = SECRET) -> Guard:
    return Guard(_app, trusted, secret, "type x")


def ask(
    guarded: Guard,
    path: str = "/api/health",
    *,
    server: tuple[str, int] = HERE,
    method: str = "GET",
    kind: str = "http",
    extensions: dict[str, Any] | None = None,
    **headers: str,
) -> tuple[list[dict[str, Any]], str]:
    """The messages that it sends, and the text of its body. `Host` is that of HERE by default."""
    named = {"Host": "127.0.0.1:4200", **headers}
    sent: list[dict[str, Any]] = []
    path, _, query = path.partition("?")

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "method": method,
        "server": server,
        "extensions": extensions or {},
        "headers": [
            (key.replace("_", "-").lower().encode(), value.encode()) for key, value in named.items()
        ],
    }
    asyncio.run(guarded(scope, None, send))  # type: ignore[arg-type]
    return sent, b"".join(message.get("body", b"") for message in sent).decode()


def status(guarded: Guard, *arguments: str, **options: Any) -> tuple[int, str]:
    sent, text = ask(guarded, *arguments, **options)
    return int(sent[0]["status"]), text


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("127.0.0.1:4200", HERE),
        ("localhost:4200", HERE),
        ("LOCALHOST", HERE),
        ("localhost.:4200", HERE),
        ("labels.localhost:4200", HERE),
        ("[::1]:4200", HERE),
        ("127.0.0.1:9999", HERE),  # a tunnel of the user's own
        ("192.168.1.5:4200", LAN),  # the address that the connection came in by
        ("192.168.1.5:4200", ("::ffff:192.168.1.5", 4200)),
        ("ratchet.example.com", HERE),
        ("ratchet.example.com:8443", HERE),
        ("other.example.com:8443", HERE),
    ],
)
def test_trusted_hosts(host: str, server: tuple[str, int]) -> None:
    known = guard("ratchet.example.com", "Other.example.com:8443", secret=None)
    assert status(known, Host=host, server=server) == (204, "")


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example:4200",  # whose name points to 127.0.0.1 by now
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "192.168.1.5:4200",
        "127.0.0.1@attacker.example",
        "2130706433",  # 127.0.0.1 as some clients write it
        "",
        "<script>",
    ],
)
def test_a_foreign_host_is_misdirected(host: str) -> None:
    code, said = status(guard(), Host=host, X_Ratchet_Key=SECRET)
    assert code == 421
    assert said.startswith("This server is not known as ") and "--allow-host " in said
    assert said.count("\n") == 1 and "<" not in said


def test_two_hosts_or_none() -> None:
    assert status(guard(), Host="127.0.0.1", HOST="attacker.example")[0] == 421
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "headers": [], "method": "GET"}
    asyncio.run(guard()(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.example",
        "http://127.0.0.1:8888",  # another server of this machine
        "http://localhost:4200",  # another origin than 127.0.0.1, though the same server
        "https://ratchet.example.com:444",
        "null",
        "",
        "file://127.0.0.1:4200",
    ],
)
def test_a_foreign_origin(origin: str) -> None:
    code, said = status(guard("ratchet.example.com"), Origin=origin, X_Ratchet_Key=SECRET)
    assert code == 403
    assert said.startswith("Pages of ") and "--allow-host " in said


def test_own_origins() -> None:
    for origin in ("http://127.0.0.1:4200", "https://ratchet.example.com"):
        known = guard("ratchet.example.com")
        assert status(known, Origin=origin, X_Ratchet_Key=SECRET)[0] == 204
    proxied = {"Host": "ratchet.example.com:8443", "Origin": "https://ratchet.example.com:8443"}
    assert status(guard("ratchet.example.com"), X_Ratchet_Key=SECRET, **proxied)[0] == 204


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_pages_embed(site: str) -> None:
    """An image, a script or a frame has no Origin; following a link there is harmless."""
    key = {"X_Ratchet_Key": SECRET, "Sec_Fetch_Site": site}
    for mode, dest in (("no-cors", "image"), ("navigate", "iframe")):
        code, said = status(guard(), Sec_Fetch_Mode=mode, Sec_Fetch_Dest=dest, **key)
        assert code == 403 and "another origin" in said and "--allow-host" in said
    link = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert status(guard(), **link, **key)[0] == 204
    assert status(guard(), **link, **key, method="POST")[0] == 403


def test_without_the_secret() -> None:
    assert status(guard()) == NO_SECRET
    assert status(guard(), X_Ratchet_Key=SECRET + "x") == NO_SECRET
    assert status(guard(), X_Ratchet_Key="ä") == NO_SECRET
    assert status(guard(), Cookie=f"ratchet={SECRET}") == NO_SECRET
    assert status(guard(), LINK_PATH, method="POST") == NO_SECRET
    assert status(guard(secret=None))[0] == 204
    assert SECRET not in repr(guard())


def test_a_link_signs_one_browser_in() -> None:
    guarded = guard()
    link = status(guarded, f"{LINK_PATH}?to=/runs", method="POST", X_Ratchet_Key=SECRET)[1].strip()
    sent, page = ask(guarded, link)
    head = dict(sent[0]["headers"])
    assert sent[0]["status"] == 200 and "url=/runs" in page
    assert head[b"referrer-policy"] == b"no-referrer" and head[b"cache-control"] == b"no-store"
    cookie, *marks = head[b"set-cookie"].decode().split("; ")
    assert SECRET not in cookie and {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(marks)
    assert status(guarded, Cookie=f"a=b; {cookie}; c=d")[0] == 204
    code, said = status(guarded, link)
    assert (code, said) == (403, "This link was already used or has expired: type x.\n")
    assert status(guarded, link, Cookie=cookie)[0] == 200  # the same browser, gone back
    # Another start of the same server knows the browser; another server does not.
    assert status(guard(), Cookie=cookie)[0] == 204
    assert status(guard(secret="another"), Cookie=cookie)[0] == 403


def test_a_link_leads_nowhere_else() -> None:
    for to in ("//attacker.example", "https://attacker.example", '/"><script>', "/\\evil"):
        guarded = guard()
        made = status(guarded, f"{LINK_PATH}?to={to}", method="POST", X_Ratchet_Key=SECRET)[1]
        assert "url=/&quot;" not in (page := ask(guarded, made.strip())[1])
        assert 'content="0;url=/"' in page


def test_websockets() -> None:
    own = {"kind": "websocket", "X_Ratchet_Key": SECRET}
    (refused,), _ = ask(guard(), Origin="http://attacker.example", **own)
    assert (refused["type"], refused["code"]) == ("websocket.close", 1008)
    sent, said = ask(
        guard(),
        Origin="http://attacker.example",
        extensions={"websocket.http.response": {}},
        **own,
    )
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 403)
    assert said.startswith("Pages of attacker.example may not use this server")
    assert ask(guard(), kind="websocket")[0][0]["type"] == "websocket.close"
    assert ask(guard(), **own)[0][0]["status"] == 204


def test_the_life_of_the_app_is_its_own() -> None:
    assert ask(guard(), kind="lifespan", Host="attacker.example")[0][0]["status"] == 204


def test_no_server_is_without_it() -> None:
    """A module that starts to listen for requests puts the guard before its app."""
    root = Path(web_guard.__file__).parents[1]
    packages = ("console", "flows", "generation", "labeling", "reporting", "dpo_core")
    sources = {path: path.read_text("utf-8") for p in packages for path in (root / p).rglob("*.py")}
    listens = re.compile(r"uvicorn\.(Config|run)\(|\bHTTPServer\(|hypercorn|aiohttp\.web|wsgiref")
    serving = {path.name: text for path, text in sources.items() if listens.search(text)}
    assert serving.keys() == {"serve.py", "server.py", "serving.py"}
    assert all(re.search(r"\bGuard\(", text) for text in serving.values())


def test_it_imports_the_standard_library_alone() -> None:
    """Argilla's environment loads it by its path, and has nothing of Ratchet."""
    tree = ast.parse(Path(web_guard.__file__).read_text(encoding="utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in modules} <= set(sys.stdlib_module_names)
    assert HEADER.isascii()
