"""One dataset for all tests of search."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from labeling.server import WORKSPACE, Access, Server, add_user
from labeling.server.users import call

sys.path.insert(0, str(Path(__file__).parent))
from search_rows import ODD, ROWS, Logged, record


@pytest.fixture(scope="session")
def stranger() -> Iterator[tuple[str, list[str]]]:
    """Address of an image on another server, and what that server was asked for."""
    asked: list[str] = []

    class Ear(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{ear.server_port}/seen.png", asked
        ear.shutdown()


@pytest.fixture(scope="session")
def logged(argilla: Server, stranger: tuple[str, list[str]]) -> Iterator[Logged]:
    import argilla as rg

    client = rg.Argilla(api_url=argilla.access.url, api_key=argilla.access.api_key)
    users = {}
    passwords = {name: add_user(argilla.access, name) for name in ("one", "two")}
    for name in passwords:
        users[name] = client.users(name)
    settings = rg.Settings(
        fields=[rg.ChatField(name="prompt"), rg.TextField(name="answer", use_markdown=True)],
        questions=[
            rg.LabelQuestion(name="better", labels=["A", "B", "Tie"]),
            rg.RatingQuestion(name="strength", values=[1, 2, 3], required=False),
        ],
        metadata=[
            rg.TermsMetadataProperty(name="source"),
            rg.IntegerMetadataProperty(name="number"),
            rg.FloatMetadataProperty(name="margin"),
            rg.TermsMetadataProperty(name=ODD),
        ],
        vectors=[rg.VectorField(name="place", dimensions=2)],
        distribution=rg.TaskDistribution(min_submitted=2),
    )
    dataset = rg.Dataset(name="search", workspace=WORKSPACE, settings=settings, client=client)
    dataset.create()
    dataset.records.log([record(row, users, stranger[0]) for row in ROWS])
    everybody = call(argilla.access, "GET", "users")["items"]
    keys = {user["username"]: user["api_key"] for user in everybody}
    people = {name: Access(argilla.access.url, keys[name]) for name in users}
    yield Logged(dataset, argilla.access, people, passwords)
    dataset.delete()
    client.http_client.close()
