"""What a language model that judges is asked, and what it replies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dpo_core.records import Cost


@dataclass(frozen=True)
class QuestionPart:
    """A piece of a question: our words, or `data`, which says nothing to the model."""

    text: str
    data: bool = False


@dataclass(frozen=True)
class Question:
    """Answered by exactly one of `choices`."""

    parts: tuple[QuestionPart, ...]
    choices: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Reply:
    """What the model said.

    text: as it came. first_token: log-probs (nats) of the tokens that might have opened the reply,
    by their text; empty where the engine gives none. failure: why there is no reply to read, such
    as a question that is too long; the judge then abstains. refused: it was the question that could
    not be answered, not the model that failed to.
    """

    text: str
    first_token: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    failure: str = ""
    refused: bool = False


Take = Callable[[int, Reply], None]
"""Called as take(number of the question, its reply) as soon as a reply is there."""

Ask = Callable[[Sequence[Question], Take], None]
"""Has every question answered. Raises JudgeError, BudgetSpent or an error of a child."""
