"""Records for tests of search: what a query must find is computed from them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labeling.server import Access
from labeling.server.users import call

if TYPE_CHECKING:
    import argilla as rg

COUNT = 24
WORDS = ("Lighthouse", "harbour", "Éclair", "100% sure", "snow_flake", "日本語の灯台")
ODD = 'say "it\'s" $[0]'
"""A name that a JSON path could not quote."""


@dataclass(frozen=True)
class Row:
    number: int
    responses: dict[str, tuple[str, str]] = field(default_factory=dict)
    """user: (status, answer)"""

    @property
    def id(self) -> str:
        return f"row-{self.number:02d}"

    @property
    def word(self) -> str:
        return WORDS[self.number % len(WORDS)]

    @property
    def sources(self) -> list[str]:
        return ["people", "judge"] if self.number % 4 == 0 else ["judge"]

    @property
    def margin(self) -> float | None:
        return None if self.number % 5 == 0 else (self.number * 7 % COUNT) / 4

    @property
    def suggestion(self) -> str | None:
        return None if self.number % 3 == 0 else "AB"[self.number % 2]

    @property
    def vector(self) -> list[float]:
        angle = math.pi * (self.number * 5 % COUNT) / COUNT
        return [math.cos(angle), math.sin(angle)]


ANSWERS: dict[int, dict[str, tuple[str, str]]] = {
    1: {"one": ("submitted", "A"), "two": ("submitted", "B")},
    2: {"one": ("draft", "A")},
    3: {"one": ("discarded", "Tie")},
    4: {"two": ("submitted", "A")},
    5: {"one": ("submitted", "Tie"), "two": ("draft", "Tie")},
}
ROWS = [Row(number, ANSWERS.get(number, {})) for number in range(COUNT)]


@dataclass
class Logged:
    dataset: "rg.Dataset"
    access: Access
    people: dict[str, Access]
    """Annotators with their own keys."""
    names: dict[str, str]
    """What they sign in as."""
    passwords: dict[str, str]

    def search(self, body: dict[str, Any], person: str | None = None) -> list[str]:
        """Ids in the order of the web pages' own search: as the owner sees it, or a person."""
        access = self.people[person] if person else self.access
        path = f"{'me/' if person else ''}datasets/{self.dataset.id}/records/search?limit=1000"
        found = call(access, "POST", path, body)
        assert found["total"] == len(found["items"])
        return [item["record"]["external_id"] for item in found["items"]]

    def ask(self, text: str | None = None, **query: Any) -> set[str]:
        import argilla as rg

        return {record.id for record in self.dataset.records(query=rg.Query(query=text, **query))}


def record(row: Row, users: dict[str, "rg.User"], image: str) -> "rg.Record":
    import argilla as rg

    found = rg.Record(
        id=row.id,
        fields={
            "prompt": [{"role": "user", "content": f"Tell me of number {row.number}."}],
            "answer": f"It is about **{row.word}**, seen twice.\n\n![Picture]({image})",
        },
        metadata={"source": row.sources, "number": row.number, ODD: f"odd {row.number % 2}"}
        | ({} if row.margin is None else {"margin": row.margin}),
        vectors={"place": row.vector},
    )
    if row.suggestion:
        score = row.number / 100
        found.suggestions.add(rg.Suggestion("better", row.suggestion, score=score, agent="rule"))
    for name, (status, answer) in row.responses.items():
        found.responses.add(rg.Response("better", answer, users[name].id, status=status))
        if status == "submitted":
            strength = row.number % 3 + 1
            found.responses.add(rg.Response("strength", strength, users[name].id, status=status))
    return found


def rows(wanted: Callable[[Row], object]) -> set[str]:
    return {row.id for row in ROWS if wanted(row)}


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
