import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from in_process import Workplace


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(tmp_path, monkeypatch)
