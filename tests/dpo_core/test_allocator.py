"""Freed memory stays or goes back as asked, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = """
from resource import getpagesize

from dpo_core import allocator

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * getpagesize() / 2**20
"""
KEPT = """
before = resident_mib()
large = b"x" * (64 << 20)
del large
print(resident_mib() - before)
"""
BELOW_ANOTHER = """
large = b"x" * (30 << 20)
del large  # glibc takes it as a hint that buffers of this size belong in the heap
before = resident_mib()
large, above = b"x" * (16 << 20), b"y" * (1 << 20)
del large
print(resident_mib() - before - 1)
"""
RETURNED = BELOW_ANOTHER.replace("print", "allocator.return_free_pages()\nprint")


@pytest.mark.parametrize(
    ("ask", "then", "left_mib"),
    [
        ("", KEPT, 0),
        ("allocator.keep_freed_memory()", KEPT, 64),
        ("", BELOW_ANOTHER, 16),
        ("allocator.return_large_buffers(4 << 20)", BELOW_ANOTHER, 0),
        ("", RETURNED, 0),
    ],
)
def test_freed_memory(ask: str, then: str, left_mib: float) -> None:
    script = "\n".join((HEAD, ask, then))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(left_mib, abs=2)
