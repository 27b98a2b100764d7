"""A campaign of two rounds, each clearly better than the one before, run once for all."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from planted import create
from small_campaign import Campaign

from tests.made_once import made_once


@pytest.fixture(scope="session")
def improving(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A test that changes anything works on a copy."""
    return Campaign(made_once(tmp_path_factory, "improving", _improve) / "one")


def _improve(folder: Path) -> None:
    done = create(folder / "one").run()
    assert done.returncode == 0, done.stderr + done.stdout
