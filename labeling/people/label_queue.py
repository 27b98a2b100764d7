"""Where people find what they are asked, and leave their answers: the interface of a queue."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from labeling.people.argilla_parts import Questions
from labeling.people.task import Item

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, unit)."""

Record = Mapping[str, Any]
"""A record as Argilla's JSON has it: id, external_id, status, responses (each with id, user_id,
values, status, updated_at)."""


@dataclass(frozen=True)
class Dataset:
    """A round's dataset; `url`: the page where people label it."""

    id: str
    name: str
    url: str


class LabelQueue(Protocol):
    """A queue of records for people. Argilla's is labeling.people.argilla_queue.ArgillaQueue."""

    def dataset(self, name: str, questions: Questions, guidelines: str) -> Dataset:
        """The dataset of that name, ready for labelling; created if missing."""
        ...

    def find(self, name: str) -> Dataset | None:
        """The dataset of that name, or None."""
        ...

    def push(self, dataset: Dataset, items: Sequence[Item], progress: Progress) -> None:
        """Send items, skipping those that are there."""
        ...

    def records(self, dataset: Dataset, progress: Progress) -> Iterator[Record]:
        """Every record with its answers, each once."""
        ...

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        """Remove records, with their answers."""
        ...

    def names(self) -> Mapping[str, str]:
        """user id → name."""
        ...

    def progress(self, dataset: Dataset) -> Mapping[str, Any]:
        """Records `total` and `completed`, and answers per user in `users`."""
        ...
