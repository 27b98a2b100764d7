"""The names that `dpo_core` offers: what they stand for, and that they load on first use."""

import subprocess
import sys

import dpo_core
from dpo_core.evaluation import length_control, ratings, statistics


def test_statistics_are_offered_by_the_package() -> None:
    assert dpo_core.win_rate is statistics.win_rate
    assert dpo_core.length_controlled_win_rate is length_control.length_controlled_win_rate
    assert dpo_core.bradley_terry is ratings.bradley_terry


def test_every_public_name_is_found() -> None:
    assert all(getattr(dpo_core, name) is not None for name in dpo_core.__all__)


def test_importing_the_package_loads_no_numbers_and_its_statistics_no_torch() -> None:
    code = (
        "import sys, dpo_core; loaded = {'numpy', 'torch'} & set(sys.modules); "
        "from dpo_core import win_rate, length_controlled_win_rate, bradley_terry; "
        "sys.exit(bool(loaded) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
