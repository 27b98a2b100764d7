"""The benchmark of labels runs, and sees every pair and answer on both sides."""

from benchmarks.labels import compare
from tests.shared_argilla import SharedArgilla


def test_both_sides_do_the_same(argilla: SharedArgilla) -> None:
    found = compare(argilla.access, 12, 0.5)
    assert set(found) == {"plain client", "Ratchet"}
    for side in found.values():
        assert all(cost["seconds"] > 0 for cost in side.values())
        assert set(side) == {"push", "collect"}
