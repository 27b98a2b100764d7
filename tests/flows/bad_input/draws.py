"""How much is tried, and lines that are put among good ones."""

from collections.abc import Collection, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Put = list[tuple[int, bytes]]
"""Lines, each with the place that it takes among the others."""


def some(examples: int) -> settings:
    """The same ones each time: for every change."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def many(examples: int) -> settings:
    """Other ones each time: for the proof."""
    return settings(some(examples), derandomize=False)


def one_or_two(lines: Collection[bytes], first: int, last: int) -> st.SearchStrategy[Put]:
    """Or none, at places from `first` to `last`."""
    places = st.tuples(st.integers(first, last), st.sampled_from(sorted(lines)))
    return st.lists(places, max_size=2)


def with_lines(good: Sequence[bytes], put: Put) -> list[bytes]:
    """The lines of a file."""
    lines = list(good)
    for at, line in put:
        lines.insert(at, line)
    return lines
