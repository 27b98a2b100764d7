"""Which room imports which: `python -m tests.contracts.import_graph` prints it, topmost first.

A room is a folder or a module directly below a package that is given; packages themselves are rooms
beside them.
"""

import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from grimp import build_graph

ROOT = Path(__file__).parents[2]
PACKAGES = ("console", "dpo_core", "flows", "generation", "labeling", "reporting")
SPLIT = ("flows",)
"""Packages that are shown room by room."""

Graph = Mapping[str, set[str]]
"""room → rooms that it imports."""


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in SPLIT else parts[0]


def import_graph() -> Graph:
    modules = build_graph(*PACKAGES, cache_dir=None)
    rooms: dict[str, set[str]] = {}
    for module in sorted(modules.modules):
        below = rooms.setdefault(room_of(module), set())
        for other in modules.find_modules_directly_imported_by(module):
            if room_of(other) != room_of(module):
                below.add(room_of(other))
    return {room: below for room, below in rooms.items() if room not in SPLIT or below}


def main() -> None:
    graph = import_graph()
    try:
        order = [*TopologicalSorter(graph).static_order()]
    except CycleError as error:
        sys.exit(f"a way round: {' → '.join(error.args[1])}")
    for room in reversed(order):
        print(f"{room:<20} {', '.join(sorted(graph.get(room, ())))}".rstrip())
    print(f"{len(order)} rooms, no way round")


if __name__ == "__main__":
    main()
