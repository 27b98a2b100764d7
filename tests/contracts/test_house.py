"""The house stays as it was tidied: no rooms that import each other, files of a readable length."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from tests.contracts.import_graph import PACKAGES, ROOT, import_graph

LONGEST, MEDIAN = 370, 105
"""Lines per file, at most and in the middle; an `__init__` of up to 3 lines does not count."""

MOST_LINES = {"flows": 17_337 + 660 + 1_100 + 170 + 300 + 330 + 290 + 30 + 380 + 90 + 36}
"""As it was tidied; what engines side by side on one machine take; what a Ray cluster does, which
is placement, actors, lost nodes and the doctor's look at them; a campaign's bucket, of which flows
has the config, a doctor's check and the places where a run waits for it; what serves the console:
`ratchet up`, pause, resume and cancel, the label server on first need; nodes that train together,
which is their common end, its cause, and places apart; the files of jobs on their way to nodes with
disks of their own and back; where a branch's bucket and a round's checkpoints are asked for; a
newcomer's first campaign: quick checks before anything heavy, and `ratchet init`; the lasting
address at which a campaign asks people, which is told what is open and what comes next; which
decisions people were told of; and the one peak of a campaign's devices. Taking the base of another
campaign needed fewer lines than options that are now written once."""

MOST_FILES = {"flows": 140 + 8 + 2}  # those of the seven
MOST_UNTYPED = 40
"""Dictionaries from string to anything: each at a border of JSON, parquet or a pipe."""
_UNTYPED = re.compile(r"(dict|Mapping)\[str, Any\]")


def source_files(*packages: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split() if name.endswith(".py")]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_room_imports_another_by_a_way_round() -> None:
    graph = import_graph()
    order = [*TopologicalSorter(graph).static_order()]  # raises CycleError
    assert len(graph["flows.cli"]) > 3 and order.index("dpo_core") < order.index("flows.cli")


@pytest.mark.parametrize("package", MOST_LINES)
def test_package_is_no_longer_than_it_was_made(package: str) -> None:
    files = source_files(package)
    assert len(files) <= MOST_FILES[package]
    assert sum(map(lines, files)) <= MOST_LINES[package]


def test_files_are_neither_long_nor_crumbs() -> None:
    counts = {file: lines(file) for file in source_files(*PACKAGES)}
    long = {file.relative_to(ROOT).as_posix(): n for file, n in counts.items() if n > LONGEST}
    assert long == {}
    told = [n for file, n in counts.items() if not (file.name == "__init__.py" and n <= 3)]
    assert median(told) >= MEDIAN


def test_dictionaries_of_anything_are_at_the_borders_alone() -> None:
    counts = {
        file.relative_to(ROOT).as_posix(): len(_UNTYPED.findall(file.read_text(encoding="utf-8")))
        for file in source_files(*PACKAGES)
    }
    where = {file: count for file, count in counts.items() if count}
    assert sum(where.values()) <= MOST_UNTYPED, where


def class_names(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


SAME_IDEA: set[str] = set()
"""Class names that two modules have for one idea in two protocols."""


def test_no_class_name_stands_for_two_ideas() -> None:
    places = defaultdict(set)
    for file in source_files(*PACKAGES):
        for name in class_names(file):
            places[name].add(file.relative_to(ROOT).as_posix())
    assert {n: sorted(at) for n, at in places.items() if len(at) > 1 and n not in SAME_IDEA} == {}
