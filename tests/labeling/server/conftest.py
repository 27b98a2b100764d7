"""One dataset for all tests of search."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.server import WORKSPACE, Access, Server, add_user
from labeling.server.users import _call

sys.path.insert(0, str(Path(__file__).parent))
from search_rows import ODD, ROWS, Logged, record


@pytest.fixture(scope="session")
def logged(argilla: Server) -> Iterator[Logged]:
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
    dataset.records.log([record(row, users) for row in ROWS])
    everybody = _call(argilla.access, "GET", "users")["items"]
    keys = {user["username"]: user["api_key"] for user in everybody}
    people = {name: Access(argilla.access.url, keys[name]) for name in users}
    yield Logged(dataset, argilla.access, people, passwords)
    dataset.delete()
