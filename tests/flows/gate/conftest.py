"""A campaign of two rounds, each clearly better than the one before, run once for all."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from planted import create
from small_campaign import Campaign


@pytest.fixture(scope="session")
def improving(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A test that changes anything works on a copy."""
    campaign = create(tmp_path_factory.mktemp("improving") / "one")
    done = campaign.run()
    assert done.returncode == 0, done.stderr + done.stdout
    return campaign
