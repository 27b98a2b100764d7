import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tests.flows.conftest import copy, finished  # noqa: F401
