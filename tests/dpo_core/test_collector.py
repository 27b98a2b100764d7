"""What is held back while libraries are imported is there afterwards."""

import subprocess
import sys

HELD = """
import gc
from dpo_core import collector
collector.begin_imports()
from transformers.models.auto import modeling_auto
import sys
assert "scipy.stats" not in sys.modules and not gc.isenabled()
collector.end_imports()
import sklearn
assert gc.isenabled() and gc.get_freeze_count() > 100_000
"""


def test_a_library_that_nothing_needs_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
