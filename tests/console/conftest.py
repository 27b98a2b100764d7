"""A console of campaigns written by hand."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "flows"))
sys.path.insert(0, str(Path(__file__).parent))
from shown_console import Shown, open_console


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    with open_console(tmp_path) as console:
        yield console
