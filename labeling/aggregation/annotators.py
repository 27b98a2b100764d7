"""Quality of each annotator in a round, from rows of LABELS."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dpo_core.records import LabelRow, person
from labeling.aggregation.agreement import Rate


@dataclass(frozen=True)
class Annotator:
    """One annotator in one round.

    labels: answers that count as votes; discarded: items discarded without verdict. gold: accuracy
    on gold items. repeats: share of repeated items with the same answer. shown_first: of the
    answers that name a side, the share that names the one shown first; 0.5 means no position
    preference, since the order is random.
    """

    labels: int
    discarded: int
    gold: Rate
    repeats: Rate
    shown_first: Rate


def measure_annotators(
    labels: Iterable[LabelRow], *, retracted: Collection[str] = ()
) -> dict[str, Annotator]:
    """annotator → their measures, for annotators who answered and are not retracted."""
    by_annotator: dict[str, list[LabelRow]] = defaultdict(list)
    for row in labels:
        if person(row["annotator"]) not in retracted:
            by_annotator[row["annotator"]].append(row)
    return {name: _annotator(by_annotator[name]) for name in sorted(by_annotator)}


def _annotator(rows: list[LabelRow]) -> Annotator:
    answered = [row for row in rows if row["verdict"] is not None]
    of_kind: dict[str, list[LabelRow]] = defaultdict(list)
    for row in answered:
        of_kind[row["kind"]].append(row)
    first = {row["pair_id"]: row["verdict"] for row in of_kind["pair"]}
    sided = [row for row in answered if row["verdict"] in ("a", "b")]
    return Annotator(
        labels=len(of_kind["pair"]),
        discarded=len(rows) - len(answered),
        gold=Rate.from_hits([row["verdict"] == row["expected"] for row in of_kind["gold"]]),
        repeats=Rate.from_hits(
            [
                row["verdict"] == first[row["pair_id"]]
                for row in of_kind["repeat"]
                if row["pair_id"] in first
            ]
        ),
        shown_first=Rate.from_hits(
            [row["verdict"] == row["shown_first"] for row in sided if row["shown_first"]]
        ),
    )
