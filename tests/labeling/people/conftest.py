"""A workspace of people on the one Argilla server of the tests."""

import sys
from pathlib import Path
from secrets import token_hex

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from annotators import Annotator

from tests.shared_argilla import SharedArgilla


@pytest.fixture(scope="session")
def ann(argilla: SharedArgilla) -> Annotator:
    return Annotator.new(argilla.access, f"ann-{token_hex(4)}")


@pytest.fixture(scope="session")
def bob(argilla: SharedArgilla) -> Annotator:
    return Annotator.new(argilla.access, f"bob-{token_hex(4)}")
