"""A queue in memory, for what asking and collecting do with any queue."""

from collections.abc import Iterator, Mapping, Sequence

from labeling.people.argilla_parts import Questions
from labeling.people.label_queue import (
    CampaignQueue,
    Dataset,
    Progress,
    QueueCounts,
    QueueRecord,
    QueueResponse,
    SharedAgreement,
)
from labeling.people.task import Item


class MemoryQueue:
    """Records by their id on the server; `answer` is what an annotator does."""

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, QueueRecord]] = {}
        self.questions: dict[str, Questions] = {}
        self.pushed: list[str] = []

    def dataset(
        self, name: str, questions: Questions, guidelines: str, queue: CampaignQueue | None = None
    ) -> Dataset:
        self.pages.setdefault(name, {})
        self.questions[name] = questions
        return Dataset(name, name, f"memory://{name}")

    def find(self, name: str) -> Dataset | None:
        return Dataset(name, name, f"memory://{name}") if name in self.pages else None

    def close(self, dataset: Dataset, *, campaign: bool = False) -> None:
        pass

    def show_agreement(self, dataset: Dataset, agreement: Mapping[str, SharedAgreement]) -> None:
        pass

    def push(self, dataset: Dataset, items: Sequence[Item], progress: Progress) -> None:
        there = {record["external_id"] for record in self.pages[dataset.name].values()}
        for item in items:
            if item.record_id not in there:
                server_id = f"server {item.record_id}"
                record = QueueRecord(
                    id=server_id, external_id=item.record_id, status="pending", responses=[]
                )
                self.pages[dataset.name][server_id] = record
                self.pushed.append(item.record_id)

    def records(self, dataset: Dataset, progress: Progress) -> Iterator[QueueRecord]:
        yield from list(self.pages[dataset.name].values())

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        for server_id in server_ids:
            del self.pages[dataset.name][server_id]

    def names(self) -> Mapping[str, str]:
        return {"1": "ann", "2": "bob"}

    def progress(self, dataset: Dataset) -> QueueCounts:
        records = self.pages[dataset.name].values()
        done = sum(record["status"] == "completed" for record in records)
        return QueueCounts(len(records), done, sum(len(r["responses"]) for r in records), 0)

    def answer(self, name: str, record_id: str, user: str, choice: str, at: str) -> None:
        """An annotator's answer; the record is completed once enough people gave one."""
        record = self.pages[name][f"server {record_id}"]
        response = QueueResponse(
            id=f"{record_id} {user}",
            user_id=user,
            status="submitted",
            values={"preference": {"value": choice}},
            updated_at=at,
        )
        record["responses"].append(response)
        if len(record["responses"]) >= self.questions[name].min_submitted:
            record["status"] = "completed"
