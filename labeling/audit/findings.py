"""The result of one audit check."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

EXAMPLES = 3
_EXCERPT = 60


@dataclass(frozen=True)
class AuditFinding:
    """`count` of `of` items (`unit` says which) are affected; `because`: why the round must not be
    trained on, empty if it may."""

    count: int
    of: int
    unit: str
    because: str = ""
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def blocks(self) -> bool:
        return bool(self.because)


def limit_message(count: int, of: int, limit: float, key: str) -> str:
    """Why a share above its limit stops the round; empty if it is not above."""
    if not of or count / of <= limit:
        return ""
    return f"a share of {count / of:.3g} is above audit.{key}, {limit:g}"


def reached_message(count: int) -> str:
    """Why affected preferences stop the round; empty if there are none."""
    return f"{count} reached the preferences" if count else ""


def first_examples(examples: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(examples, EXAMPLES))


def excerpt(text: str) -> str:
    """The beginning of a text, quoted, in printable characters only."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _EXCERPT]).split())
    return f"“{plain[:_EXCERPT]}{'…' if len(plain) > _EXCERPT or len(text) > 4 * _EXCERPT else ''}”"
