"""Where people find what they are asked, and leave their answers: the interface of a queue."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from labeling.people.argilla_parts import Questions
from labeling.people.task import Item

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, unit)."""


class AnswerValue(TypedDict):
    """A user's answer to one question: a choice, a number or a text."""

    value: Any


class QueueResponse(TypedDict):
    """A user's response to a record, as Argilla's JSON has it; `values` by question."""

    id: str
    user_id: str
    status: str
    values: dict[str, AnswerValue] | None
    updated_at: str


class QueueRecord(TypedDict):
    """A record with its responses, as Argilla's JSON has it."""

    id: str
    external_id: str
    status: str
    responses: list[QueueResponse]


@dataclass(frozen=True)
class SharedAgreement:
    """What an annotator is told of a round: right answers to gold pairs, and repeated pairs that
    they answered alike, each with the number of such answers."""

    gold_right: int
    gold: int
    repeats_alike: int
    repeats: int


@dataclass(frozen=True)
class QueueCounts:
    """Records, those completed, and answers by all users."""

    total: int
    completed: int
    submitted: int
    discarded: int


@dataclass(frozen=True)
class CampaignQueue:
    """The lasting queue of a campaign, which has one address over all rounds, and the round whose
    dataset it leads to. id: part of the address. campaign: its name. rounds: planned number."""

    id: str
    campaign: str
    round: int
    rounds: int


@dataclass(frozen=True)
class Dataset:
    """A round's dataset. url: the address where people label it. continuation: its prompts are
    texts that the responses continue."""

    id: str
    name: str
    url: str
    continuation: bool = False


class LabelQueue(Protocol):
    """A queue of records for people. Argilla's is labeling.people.argilla_queue.ArgillaQueue."""

    def dataset(
        self, name: str, questions: Questions, guidelines: str, queue: CampaignQueue | None = None
    ) -> Dataset:
        """The dataset of that name, ready for labelling, as what `queue` leads to; created if
        missing."""

    def find(self, name: str) -> Dataset | None:
        """The dataset of that name, or None."""

    def close(self, dataset: Dataset, *, campaign: bool = False) -> None:
        """Tell people that the dataset has the answers it needs; campaign: and that no round
        follows."""

    def show_agreement(self, dataset: Dataset, agreement: Mapping[str, SharedAgreement]) -> None:
        """Tell each annotator how they did; agreement: by name."""

    def push(self, dataset: Dataset, items: Sequence[Item], progress: Progress) -> None:
        """Send items, skipping those that are there."""

    def records(self, dataset: Dataset, progress: Progress) -> Iterator[QueueRecord]:
        """Every record with its answers, each once."""

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        """Remove records, with their answers."""

    def names(self) -> Mapping[str, str]:
        """user id → name."""

    def progress(self, dataset: Dataset) -> QueueCounts:
        """How far its records are answered."""
