"""A small campaign, run once for all files of tests here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_campaign import Campaign, finish

from tests.made_once import made_once


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Run once; a test that changes anything works on a `copy`."""
    return Campaign(made_once(tmp_path_factory, "finished", finish))


@pytest.fixture
def copy(finished: Campaign, tmp_path: Path) -> Campaign:
    """A campaign of its own for a test that changes it."""
    return finished.copied(tmp_path / "copy")
