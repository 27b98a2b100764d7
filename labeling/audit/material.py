"""The audit's input: a round's preferences, and how they came about."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain

from dpo_core.records import LabelRow, Prompt, Verdict, person
from labeling.aggregation.votes import VerdictRow
from labeling.audit.findings import excerpt

BY_CHOICE = frozenset({"unlabelled", "judge_unreliable"})
"""Reasons why a pair has no preference although no verdict was lost: it was left to people, who
were not asked about every pair."""


@dataclass(frozen=True)
class AuditedAnswer:
    """One side of a preference. tokens: number of tokens including EOS. faults: names from
    labeling.audit.token_faults."""

    text: str
    tokens: int
    finished: bool
    faults: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Preference:
    """A preference as it would be trained on; `side`: the pair's chosen side, if known."""

    pair_id: str
    prompt: Prompt
    chosen: AuditedAnswer
    rejected: AuditedAnswer
    p_chosen: float = 1.0
    side: str | None = None

    @property
    def answers(self) -> tuple[AuditedAnswer, AuditedAnswer]:
        return self.chosen, self.rejected

    def describe(self) -> str:
        texts = f"chosen {excerpt(self.chosen.text)}, rejected {excerpt(self.rejected.text)}"
        return f"pair {self.pair_id}: {texts}"


@dataclass(frozen=True)
class StepLosses:
    """Items that entered a step, and those it dropped: reason → count."""

    came_in: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def count(self, *reasons: str) -> int:
        return sum(self.reasons.get(reason, 0) for reason in reasons)

    @property
    def by_choice(self) -> int:
        return self.count(*BY_CHOICE)


@dataclass(frozen=True)
class SourceVotes:
    """sides: source → side → number of verdicts for it. undecided: pairs that no source decided."""

    sides: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    undecided: Set[str] = frozenset()


@dataclass(frozen=True)
class Material:
    """A round before training; `truncated` is the config's pairs.truncated."""

    preferences: Sequence[Preference]
    held_out: Sequence[Prompt] = ()
    judged: SourceVotes = SourceVotes()
    selection: StepLosses = StepLosses()
    aggregation: StepLosses = StepLosses()
    truncated: str = "drop"


_OTHER = {"a": "b", "b": "a"}


class OrdersRow(VerdictRow):
    """The columns of JUDGEMENTS that are counted: the verdict, and that in each order."""

    forward: Verdict | None
    backward: Verdict | None


def count_votes(judgements: Iterable[OrdersRow], labels: Iterable[LabelRow]) -> SourceVotes:
    """Count each source's verdicts by side.

    A source that read both orders is also counted by the position of the answer it named. People
    are counted by position only, since sides are assigned by hash and people do not see them.
    """
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    seen, decided = set[str](), set[str]()
    of_judges = ((row["pair_id"], row["verdict"], _judge_votes(row)) for row in judgements)
    of_people = ((row["pair_id"], row["verdict"], _person_votes(row)) for row in labels)
    for pair_id, verdict, votes in chain(of_judges, of_people):
        seen.add(pair_id)
        if verdict in _OTHER:
            decided.add(pair_id)
        for source, side in votes:
            sides[source][side] += 1
    return SourceVotes({source: dict(counts) for source, counts in sides.items()}, seen - decided)


def _judge_votes(row: OrdersRow) -> Iterator[tuple[str, str]]:
    """(source, side) of a judgement, and (source, position) of each order it was read in."""
    if row["verdict"] in _OTHER:
        yield row["source"], row["verdict"]
    in_order = f"{row['source']} (order of reading)"
    if row["forward"] in _OTHER:
        yield in_order, row["forward"]
    if row["backward"] in _OTHER:
        yield in_order, _OTHER[row["backward"]]


def _person_votes(row: LabelRow) -> Iterator[tuple[str, str]]:
    if row["verdict"] in _OTHER:
        first = row["verdict"] == row["shown_first"]
        yield f"{person(row['annotator'])} (order on screen)", "a" if first else "b"
