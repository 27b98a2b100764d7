"""Argilla's datasets, records and answers; no other module talks to Argilla about them.

Uses Argilla's HTTP API: its Python client drops an answer's id and time of change, which counting
answers needs, and gives up at the first failure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypedDict

from dpo_core.tables import batched
from labeling.people.argilla_http import PATIENT, ArgillaHttp, Patience, RequestRefused
from labeling.people.argilla_parts import Questions, batches, dataset_parts, make_record
from labeling.people.label_queue import (
    CampaignQueue,
    Dataset,
    Progress,
    QueueCounts,
    QueueRecord,
    SharedAgreement,
)
from labeling.people.task import Item
from labeling.server import Access

PAGE = 500
_BATCH = 250
_DELETE_AT_ONCE = 100
_READY = "ready"
_OURS = "ratchet"
"""Key of what is said in a dataset's metadata."""
_QUEUE_SCRIPT = "/ratchet/static/campaign.js"
"""Of the page at /campaign/ID, which the embedded server has."""
_CONFLICT, _UNPROCESSABLE = 409, 422


class DatasetEntry(TypedDict):
    """What is read of Argilla's JSON of a dataset."""

    id: str
    name: str
    workspace_id: str
    status: str
    guidelines: str | None
    metadata: dict[str, object] | None


class ArgillaQueue:
    """A workspace of an Argilla server; a context manager that closes the connection.

    Methods raise LabelServerFailed when the server does not answer, LabelsError for a refused key.
    """

    def __init__(self, access: Access, workspace: str, patience: Patience | None = None) -> None:
        self._http = ArgillaHttp(access, patience or PATIENT)
        self._call = self._http.call
        self._workspace_name = workspace

    def dataset(
        self, name: str, questions: Questions, guidelines: str, queue: CampaignQueue | None = None
    ) -> Dataset:
        """The dataset of that name, ready for labelling, as what `queue` leads to; created if
        missing."""
        entry = self._find(name) or self._create(name, questions, guidelines)
        if entry["status"] != _READY:  # new, or its creation was interrupted
            self._complete(str(entry["id"]), questions)
        elif entry["guidelines"] != guidelines:
            self._call("PATCH", f"datasets/{entry['id']}", json={"guidelines": guidelines})
        if queue is not None:
            self._describe(entry, asdict(queue))
        url = self._address(entry, queue)
        return Dataset(str(entry["id"]), str(entry["name"]), url, questions.continuation)

    def find(self, name: str) -> Dataset | None:
        """The dataset of that name, or None."""
        entry = self._find(name)
        if entry is None:
            return None
        return Dataset(str(entry["id"]), str(entry["name"]), self._address(entry, None))

    def close(self, dataset: Dataset, *, campaign: bool = False) -> None:
        """Tell people that the dataset has the answers it needs; campaign: and that no round
        follows."""
        entry: DatasetEntry = self._call("GET", f"datasets/{dataset.id}")
        about = (entry.get("metadata") or {}).get(_OURS)
        if isinstance(about, dict):
            closed = about.get("closed") or datetime.now(UTC).isoformat(timespec="seconds")
            self._describe(entry, {**about, "closed": closed, "over": campaign})

    def records(self, dataset: Dataset, progress: Progress) -> Iterator[QueueRecord]:
        """Argilla's JSON of every record with its answers, each record once.

        Pages shift when a record is removed meanwhile; they are then read again.
        """
        seen: set[str] = set()
        for _ in range(3):
            read, total = 0, 1
            while read < total:
                records, total = self._page(dataset, read)
                yield from (r for r in records if r["id"] not in seen)
                seen.update(r["id"] for r in records)
                read += len(records)
                progress(len(seen), total, "records read")
                if not records:
                    break
            if len(seen) >= total:
                return

    def show_agreement(self, dataset: Dataset, agreement: Mapping[str, SharedAgreement]) -> None:
        """Tell each annotator how they did, where the server has pages for it."""
        if self._http.has_script(_QUEUE_SCRIPT):
            said = {name: asdict(each) for name, each in agreement.items()}
            self._http.put_on_server(f"/ratchet/agreement/{dataset.id}", said)

    def push(self, dataset: Dataset, items: Sequence[Item], progress: Progress) -> None:
        """Send items in batches, skipping those already on the server."""
        question = self._question(dataset) if any(item.opinion for item in items) else ""
        done = 0
        for batch in batches(items, _BATCH):
            self._push(dataset, batch, question)
            done += len(batch)
            progress(done, len(items), "records sent")

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        """Remove records from the queue, and with them Argilla's copies of their answers."""
        for ids in batched(server_ids, _DELETE_AT_ONCE):
            self._call("DELETE", f"datasets/{dataset.id}/records", params={"ids": ",".join(ids)})

    def progress(self, dataset: Dataset) -> QueueCounts:
        """How far its records are answered."""
        counts = self._call("GET", f"datasets/{dataset.id}/progress")
        users = self._call("GET", f"datasets/{dataset.id}/users/progress")["users"]
        kinds = [user.get(status, {}) for user in users for status in ("completed", "pending")]
        submitted = sum(kind.get("submitted", 0) for kind in kinds)
        discarded = sum(kind.get("discarded", 0) for kind in kinds)
        return QueueCounts(counts["total"], counts["completed"], submitted, discarded)

    def names(self) -> dict[str, str]:
        """user id → name, of all users for an owner's key, else of the workspace's users."""
        try:
            users = self._call("GET", "users")["items"]
        except RequestRefused:
            users = self._call("GET", f"workspaces/{self._workspace()}/users")["items"]
        return {str(user["id"]): str(user["username"]) for user in users}

    def _create(self, name: str, questions: Questions, guidelines: str) -> DatasetEntry:
        body = {
            "name": name,
            "workspace_id": self._workspace(),
            "guidelines": guidelines,
            "allow_extra_metadata": False,
            "distribution": {"strategy": "overlap", "min_submitted": questions.min_submitted},
        }
        try:
            created: DatasetEntry = self._call("POST", "datasets", json=body)
        except RequestRefused as refused:
            entry = self._find(name)
            if refused.status != _CONFLICT or entry is None:
                raise
            return entry  # created by a request whose response was lost
        return created

    def _complete(self, dataset_id: str, questions: Questions) -> None:
        """Add the missing parts to a draft, and publish it."""
        for kind, parts in dataset_parts(questions).items():
            whose = "me/" if kind == "metadata-properties" else ""
            items = self._call("GET", f"{whose}datasets/{dataset_id}/{kind}")["items"]
            existing = {item["name"] for item in items}
            for part in parts:
                if part["name"] not in existing:
                    self._add_part(f"datasets/{dataset_id}/{kind}", part)
        try:
            self._call("PUT", f"datasets/{dataset_id}/publish")
        except RequestRefused:
            if self._call("GET", f"datasets/{dataset_id}")["status"] != _READY:
                raise

    def _add_part(self, path: str, part: Mapping[str, object]) -> None:
        try:
            self._call("POST", path, json=part)
        except RequestRefused as refused:
            if refused.status != _CONFLICT:
                raise

    def _describe(self, entry: DatasetEntry, about: Mapping[str, object]) -> None:
        """Say in the dataset's metadata which queue leads to it, for the page of the queue."""
        before = entry.get("metadata")
        now = {**(before or {}), _OURS: dict(about)}
        if before == now:
            return
        path = f"datasets/{entry['id']}"
        if before:  # Argilla 2.8 changes no metadata that is there, except to none
            self._call("PATCH", path, json={"metadata": None})
        self._call("PATCH", path, json={"metadata": now})

    def _address(self, entry: DatasetEntry, queue: CampaignQueue | None) -> str:
        """Of the queue where the server has such pages, else of the dataset."""
        if queue is not None and self._http.has_script(_QUEUE_SCRIPT):
            return f"{self._http.public_url}/campaign/{queue.id}"
        return f"{self._http.public_url}/dataset/{entry['id']}/annotation-mode"

    def _find(self, name: str) -> DatasetEntry | None:
        items: list[DatasetEntry] = self._call("GET", "me/datasets")["items"]
        workspace = self._workspace()
        here = (d for d in items if d["name"] == name and str(d["workspace_id"]) == workspace)
        return next(here, None)

    def _workspace(self) -> str:
        """Id of the workspace; created if missing, as on an external server."""
        items = self._call("GET", "me/workspaces")["items"]
        entry = next((w for w in items if w["name"] == self._workspace_name), None)
        if entry is None:
            entry = self._call("POST", "workspaces", json={"name": self._workspace_name})
        return str(entry["id"])

    def _question(self, dataset: Dataset) -> str:
        """Id of the question that a suggestion answers."""
        items = self._call("GET", f"datasets/{dataset.id}/questions")["items"]
        return str(next(q["id"] for q in items if q["name"] == "preference"))

    def _page(self, dataset: Dataset, offset: int) -> tuple[list[QueueRecord], int]:
        """The records from `offset` on that one page holds, and the number of all records."""
        params = {"offset": offset, "limit": PAGE, "include": "responses"}
        page = self._call("GET", f"datasets/{dataset.id}/records", params=params)
        return page["items"], page["total"]

    def _push(self, dataset: Dataset, batch: Sequence[Item], question: str) -> None:
        records = {
            item.record_id: make_record(item, question, continuation=dataset.continuation)
            for item in batch
        }
        while records:
            try:
                body = {"items": list(records.values())}
                self._call("POST", f"datasets/{dataset.id}/records/bulk", json=body)
                return
            except RequestRefused as refused:
                if refused.status != _UNPROCESSABLE:
                    raise
                existing = {str(r["external_id"]) for r in self.records(dataset, _ignore_progress)}
                left = {k: v for k, v in records.items() if k not in existing}
                if len(left) == len(records):
                    raise
                records = left

    def __enter__(self) -> "ArgillaQueue":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _ignore_progress(done: int, total: int, unit: str) -> None:
    pass
