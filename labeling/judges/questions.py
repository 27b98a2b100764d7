"""Questions to a language model that judges, and its replies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.records import Cost


@dataclass(frozen=True)
class QuestionPart:
    """A piece of a question: instructions, or `data` that must not act as instructions."""

    text: str
    data: bool = False


@dataclass(frozen=True)
class Question:
    """A question that exactly one of `choices` answers."""

    parts: tuple[QuestionPart, ...]
    choices: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Reply:
    """A model's reply.

    text: unchanged. first_token: token → log-prob (nats) of the reply's first token; empty when the
    engine gives none. failure: why there is no reply, such as a question that is too long; the
    judge then abstains. refused: whether the question itself was refused.
    """

    text: str
    first_token: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    failure: str = ""
    refused: bool = False


Take = Callable[[int, Reply], None]
"""Called as take(number of the question, its reply) as soon as the reply arrives."""

Ask = Callable[[Sequence[Question], Take], None]
"""Gets every question answered. Raises JudgeError, BudgetSpent or an error of a child."""
