"""One dataset for all tests of search."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from secrets import token_hex

import pytest

from labeling.server import Access, add_user
from labeling.server.users import call

sys.path.insert(0, str(Path(__file__).parent))
from search_rows import ODD, ROWS, Logged, record

from tests.shared_argilla import SharedArgilla


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
def logged(argilla: SharedArgilla, stranger: tuple[str, list[str]]) -> Iterator[Logged]:
    import argilla as rg

    client = rg.Argilla(api_url=argilla.access.url, api_key=argilla.access.api_key)
    mark = token_hex(4)  # each worker may have this dataset: in a workspace of its own
    place, names = f"search-{mark}", {name: f"{name}-{mark}" for name in ("one", "two")}
    passwords = {name: add_user(argilla.access, names[name], place) for name in names}
    users = {name: client.users(names[name]) for name in names}
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
    dataset = rg.Dataset(name="search", workspace=place, settings=settings, client=client)
    dataset.create()
    dataset.records.log([record(row, users, stranger[0]) for row in ROWS])
    everybody = call(argilla.access, "GET", "users")["items"]
    keys = {user["username"]: user["api_key"] for user in everybody}
    people = {name: Access(argilla.access.url, keys[names[name]]) for name in names}
    yield Logged(dataset, argilla.access, people, names, passwords)
    dataset.delete()
    client.http_client.close()
