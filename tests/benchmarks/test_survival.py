"""What the survival benchmark breaks with, and the page on which its runs add up."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.survival.disturbed import KINDS
from benchmarks.survival.page import Totals, read_mended, read_totals, write_page
from benchmarks.survival.services import Harm
from benchmarks.survival.shim import Shim, compiled

CHILD = """
import os, sys, time
for name in sys.argv[1:]:
    with open(name, "ab", buffering=0) as file:
        for _ in range(3):
            try:
                file.write(b"x")
                print("wrote")
            except OSError as error:
                print(error.errno)
print(int(time.time()))
"""


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    library = compiled(tmp_path)
    if library is None:
        pytest.skip("needs a C compiler")
    below = tmp_path / "campaign"
    below.mkdir()
    return Shim(library, tmp_path / "control", below)


def said(shim: Shim, *paths: Path) -> list[str]:
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    environment = {**os.environ, **shim.variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_writes_fail_below_the_folder_alone(shim: Shim, tmp_path: Path) -> None:
    inside, outside = tmp_path / "campaign" / "a", tmp_path / "b"
    shim.fail(errno.ENOSPC, after=1, calls=2)
    assert said(shim, inside, outside)[:-1] == ["wrote", "28", "28", *["wrote"] * 3]
    assert shim.hit == 2
    shim.heal()
    assert said(shim, inside)[:-1] == ["wrote"] * 3


def test_the_clock_jumps(shim: Shim) -> None:
    [before] = said(shim)
    shim.clock(-86_400)
    [after] = said(shim)
    assert -86_400 <= int(after) - int(before) < -86_000


def test_harm_ends_after_its_count() -> None:
    harm = Harm()
    assert harm("GET", "/") is None
    harm.arm("500", 2)
    assert [harm("GET", "/") for _ in range(3)] == ["500", "500", None]
    assert harm.hit == 2


def test_runs_add_up_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for number in (1, 2):
        totals = read_totals(page)
        totals.faults += Counter(dict.fromkeys(KINDS, 1))
        totals.campaigns += 1
        totals.runs.append(f"run {number}")
        write_page(page, totals, read_mended(page) or "## Found and mended\n\n- one thing\n")
    assert read_totals(page) == Totals(
        Counter(dict.fromkeys(KINDS, 2)), 2, [], runs=["run 1", "run 2"]
    )
    text = page.read_text()
    assert f"## {2 * len(KINDS)} faults in 2 campaigns" in text
    assert text.count("- one thing") == 1 and "- run 1\n- run 2\n" in text
