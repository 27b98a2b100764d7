"""How each annotator did in a round, from rows of LABELS."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.records import person
from labeling.aggregation.agreement import Rate


@dataclass(frozen=True)
class Annotator:
    """One annotator in one round.

    labels: answers on pairs that vote; discarded: items put aside without a verdict. gold: accuracy
    on pairs with a known verdict. repeats: how often a pair asked again got the same answer.
    shown_first: of the answers that name a side, the share that names the one shown first; ½ is no
    preference, as the order is drawn at random.
    """

    labels: int
    discarded: int
    gold: Rate
    repeats: Rate
    shown_first: Rate


def measure_annotators(
    labels: Iterable[Mapping[str, Any]], *, retracted: Collection[str] = ()
) -> dict[str, Annotator]:
    """annotator → how they did, for those who answered and were not taken back."""
    by_annotator: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in labels:
        if person(row["annotator"]) not in retracted:
            by_annotator[row["annotator"]].append(row)
    return {name: _annotator(by_annotator[name]) for name in sorted(by_annotator)}


def _annotator(rows: list[Mapping[str, Any]]) -> Annotator:
    answered = [row for row in rows if row["verdict"] is not None]
    of_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
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
