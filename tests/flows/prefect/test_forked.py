"""Servers forked from a process that has imported Prefect are like one that is started."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.preloaded import SOCKET, Forked
from dpo_core.server_keys import worker_key_path
from dpo_core.web_guard import HEADER
from flows.prefect.server import Pages, start_server
from tests.preloading import preloaded

LOGGERS = """
import logging
from dpo_core.children import serve
serve(lambda request, report: {"handlers": repr(logging.root.handlers)})
"""


class Served(NamedTuple):
    layout: Layout
    child: Child
    url: str
    headers: dict[str, str]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.headers | headers, timeout=60)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(self.url + path, json=body, headers=self.headers, timeout=60)
        return answer.raise_for_status().json()

    def settings(self) -> dict[str, Any]:
        """All of Prefect's; what is its own is replaced."""
        shown = self.get("/api/admin/settings").raise_for_status().text
        own = {str(self.layout.root): "PLACE", self.url: "URL", self.headers[HEADER]: "SECRET"}
        for value, name in own.items():
            assert value in shown
            shown = shown.replace(value, name)
        return dict(json.loads(shown))


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """That of all tests, where there is one."""
    if SOCKET in os.environ:
        yield os.environ[SOCKET]
    else:
        with preloaded(tmp_path_factory.mktemp("forks"), "tests.prefect_imported_once") as path:
            yield str(path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, socket: str) -> Iterator[dict[str, Served]]:
    """Two that are forked and one that is started; `hidden` shows no pages."""
    pages = Pages((), "type `ratchet link`")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as servers:
        patch.delenv("PREFECT_API_BLOCKS_REGISTER_ON_START")  # off in the other tests

        def serve(name: str, from_socket: str, shown: Pages | None) -> Served:
            patch.setenv(SOCKET, from_socket)
            layout = Layout(tmp_path_factory.mktemp(name))
            child, url, key = start_server(layout, worker_key_path(layout), pages=shown)
            return Served(layout, servers.enter_context(child), url, key.headers)

        yield {
            "forked": serve("forked", socket, pages),
            "hidden": serve("hidden", socket, None),
            "started": serve("started", "", pages),
        }


def test_a_forked_server_has_the_settings_of_a_started_one(servers: dict[str, Served]) -> None:
    forked, started = servers["forked"], servers["started"]
    assert isinstance(forked.child.process, Forked)
    assert not isinstance(started.child.process, Forked)
    assert forked.settings() == started.settings()
    assert forked.settings()["home"].startswith("PLACE/")
    assert servers["hidden"].settings() != started.settings()
    logs = [server.layout.log("prefect-server").read_text() for server in servers.values()]
    assert logs == ["", "", ""]


def test_each_has_its_own_place_and_secret(servers: dict[str, Served]) -> None:
    for name, server in servers.items():
        server.post("/api/flows/", {"name": f"flow of {name}"})
    for name, server in servers.items():
        found = server.post("/api/flows/filter", {})
        assert [flow["name"] for flow in found] == [f"flow of {name}"]
        assert (server.layout.prefect / "prefect.db").exists()
        own = server.get("/api/health", Origin=server.url)
        assert own.headers["access-control-allow-origin"] == server.url
        for other in servers.values():
            taken = server._replace(headers=other.headers).get("/api/health").status_code
            assert taken == (200 if other is server else 403)


def test_pages_and_types_of_blocks_are_where_somebody_sees_them(servers: dict[str, Served]) -> None:
    seen = {name: len(s.post("/api/block_types/filter", {})) for name, s in servers.items()}
    print(seen)
    assert seen["hidden"] == 0 < seen["forked"] == seen["started"]
    pages = {name: server.get("/runs").status_code for name, server in servers.items()}
    assert pages == {"forked": 200, "hidden": 404, "started": 200}


def test_pages_after_a_server_without_them_know_types_of_blocks(
    servers: dict[str, Served], socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = servers["hidden"]
    hidden.child.close()
    monkeypatch.setenv(SOCKET, socket)
    shown, url, _ = start_server(hidden.layout, worker_key_path(hidden.layout), pages=Pages((), ""))
    with shown:
        assert hidden._replace(url=url).post("/api/block_types/filter", {})


def test_others_that_are_forked_log_as_without_prefect(
    rule: Callable[[str], str], socket: str, tmp_path: Path
) -> None:
    module = rule(LOGGERS).partition(":")[0]
    env = {SOCKET: socket, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with Child.start(module, tmp_path / "child.log", env) as child:
        assert isinstance(child.process, Forked)
        assert child.ask({}) == {"handlers": "[]"}


def test_other_settings_than_those_that_are_read_again_are_not_forked(
    socket: str, tmp_path: Path
) -> None:
    env = {SOCKET: socket, "PREFECT_TASK_SCHEDULING_MAX_SCHEDULED_QUEUE_SIZE": "7"}
    with Child.start("flows.tracking.sender", tmp_path / "child.log", env) as child:
        assert not isinstance(child.process, Forked)
