"""A workspace of people on the one Argilla server of the tests."""

import sys
from pathlib import Path

import pytest

from labeling.server import Server

sys.path.insert(0, str(Path(__file__).parent))
from annotators import Annotator


@pytest.fixture(scope="session")
def ann(argilla: Server) -> Annotator:
    return Annotator.new(argilla.access, "ann-of-people")


@pytest.fixture(scope="session")
def bob(argilla: Server) -> Annotator:
    return Annotator.new(argilla.access, "bob-of-people")
