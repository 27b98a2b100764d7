"""Who named which side, from the rows of JUDGEMENTS and LABELS."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dpo_core.records import person
from labeling.audit.material import SourceVotes

_OTHER = {"a": "b", "b": "a"}

Row = Mapping[str, Any]


def judged(judgements: Iterable[Row], labels: Iterable[Row]) -> SourceVotes:
    """What the rows amount to.

    A source that read both orders is also counted by the position of the answer that it named, a
    person by the position alone: sides of a pair are those of its hash, which people do not see.
    """
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    seen, decided = set[str](), set[str]()
    for votes, rows in ((_of_judge, judgements), (_of_person, labels)):
        for row in rows:
            seen.add(row["pair_id"])
            if row["verdict"] in _OTHER:
                decided.add(row["pair_id"])
            for source, side in votes(row):
                sides[source][side] += 1
    return SourceVotes({source: dict(counts) for source, counts in sides.items()}, seen - decided)


def _of_judge(row: Row) -> Iterator[tuple[str, str]]:
    """(source, side) of a judgement, and (source, position) of each order that it was read in."""
    if row["verdict"] in _OTHER:
        yield row["source"], row["verdict"]
    in_order = f"{row['source']} (order of reading)"
    if row["forward"] in _OTHER:
        yield in_order, row["forward"]
    if row["backward"] in _OTHER:
        yield in_order, _OTHER[row["backward"]]


def _of_person(row: Row) -> Iterator[tuple[str, str]]:
    if row["verdict"] in _OTHER:
        first = row["verdict"] == row["shown_first"]
        yield f"{person(row['annotator'])} (order on screen)", "a" if first else "b"
