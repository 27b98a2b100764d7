"""The only module that speaks to Argilla about datasets, their records and what was answered.

It uses Argilla's HTTP interface. Argilla's own client drops what the counting of answers rests on,
an answer's id and when it was last changed, and gives up at the first failure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.tables import batched
from labeling.people.argilla_http import PATIENT, ArgillaHttp, Patience, RequestRefused
from labeling.people.argilla_parts import Questions, batches, dataset_parts, make_record
from labeling.people.task import Item
from labeling.server import Access

Progress = Callable[[int, int, str], None]
"""Called with how many of how many things are done, and what they are."""

PAGE = 500
_BATCH = 250
_DELETE_AT_ONCE = 100
_READY = "ready"
_CONFLICT, _UNPROCESSABLE = 409, 422


@dataclass(frozen=True)
class Dataset:
    """A round's dataset; `url`: where people label it."""

    id: str
    name: str
    url: str


class ArgillaQueue:
    """A workspace of an Argilla server. A context manager that closes the connection.

    Raises LabelServerFailed where the server does not answer, LabelsError for a key it refuses.
    """

    def __init__(self, access: Access, workspace: str, patience: Patience | None = None) -> None:
        self._http = ArgillaHttp(access, patience or PATIENT)
        self._call = self._http.call
        self._workspace_name = workspace

    def dataset(self, name: str, questions: Questions, guidelines: str) -> Dataset:
        """The dataset of that name, ready to be labelled; made if there is none."""
        found = self._find(name) or self._create(name, questions, guidelines)
        if found["status"] != _READY:  # new, or making it was interrupted
            self._furnish(str(found["id"]), questions)
        elif found["guidelines"] != guidelines:
            self._call("PATCH", f"datasets/{found['id']}", json={"guidelines": guidelines})
        return self._described(found)

    def find(self, name: str) -> Dataset | None:
        """The dataset of that name; None if there is none, and none is made."""
        found = self._find(name)
        return None if found is None else self._described(found)

    def records(self, dataset: Dataset, progress: Progress) -> Iterator[dict[str, Any]]:
        """Every record with its answers, as Argilla's JSON has them, each once.

        Pages shift when a record is removed meanwhile; then they are read again.
        """
        seen: set[str] = set()
        for _ in range(3):
            read, total = 0, 1
            while read < total:
                page = self._page(dataset, read)
                total = page["total"]
                yield from (r for r in page["items"] if r["id"] not in seen)
                seen.update(r["id"] for r in page["items"])
                read += len(page["items"])
                progress(len(seen), total, "records read")
                if not page["items"]:
                    break
            if len(seen) >= total:
                return

    def push(self, dataset: Dataset, items: Sequence[Item], progress: Progress) -> None:
        """Send what is not there yet, in batches. Those that are there are passed over."""
        question = self._question(dataset) if any(item.opinion for item in items) else ""
        done = 0
        for batch in batches(items, _BATCH):
            self._push(dataset, batch, question)
            done += len(batch)
            progress(done, len(items), "records sent")

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        """Take records off the queue, and with them what Argilla has of their answers."""
        for ids in batched(server_ids, _DELETE_AT_ONCE):
            self._call("DELETE", f"datasets/{dataset.id}/records", params={"ids": ",".join(ids)})

    def progress(self, dataset: Dataset) -> dict[str, Any]:
        """Argilla's own count: records in `total` and `completed`, and answers of its `users`."""
        counts: dict[str, Any] = self._call("GET", f"datasets/{dataset.id}/progress")
        users: dict[str, Any] = self._call("GET", f"datasets/{dataset.id}/users/progress")
        return {**counts, **users}

    def names(self) -> dict[str, str]:
        """user id → name; of all users if the key is an owner's, else of the workspace's."""
        try:
            users = self._call("GET", "users")["items"]
        except RequestRefused:
            users = self._call("GET", f"workspaces/{self._workspace()}/users")["items"]
        return {str(user["id"]): str(user["username"]) for user in users}

    def _create(self, name: str, questions: Questions, guidelines: str) -> dict[str, Any]:
        body = {
            "name": name,
            "workspace_id": self._workspace(),
            "guidelines": guidelines,
            "allow_extra_metadata": False,
            "distribution": {"strategy": "overlap", "min_submitted": questions.min_submitted},
        }
        try:
            made: dict[str, Any] = self._call("POST", "datasets", json=body)
        except RequestRefused as refused:
            found = self._find(name)
            if refused.status != _CONFLICT or found is None:
                raise
            return found  # made by a request whose answer was lost
        return made

    def _furnish(self, dataset_id: str, questions: Questions) -> None:
        """Give a draft what it lacks, and publish it."""
        for kind, parts in dataset_parts(questions).items():
            whose = "me/" if kind == "metadata-properties" else ""
            items = self._call("GET", f"{whose}datasets/{dataset_id}/{kind}")["items"]
            there = {item["name"] for item in items}
            for part in parts:
                if part["name"] not in there:
                    self._unless_there(f"datasets/{dataset_id}/{kind}", part)
        try:
            self._call("PUT", f"datasets/{dataset_id}/publish")
        except RequestRefused:
            if self._call("GET", f"datasets/{dataset_id}")["status"] != _READY:
                raise

    def _unless_there(self, path: str, part: Mapping[str, Any]) -> None:
        try:
            self._call("POST", path, json=part)
        except RequestRefused as refused:
            if refused.status != _CONFLICT:
                raise

    def _described(self, found: Mapping[str, Any]) -> Dataset:
        url = f"{self._http.public_url}/dataset/{found['id']}/annotation-mode"
        return Dataset(str(found["id"]), str(found["name"]), url)

    def _find(self, name: str) -> dict[str, Any] | None:
        items = self._call("GET", "me/datasets")["items"]
        workspace = self._workspace()
        here = (d for d in items if d["name"] == name and str(d["workspace_id"]) == workspace)
        return next(here, None)

    def _workspace(self) -> str:
        """Its id; made if there is none, as on an external server."""
        items = self._call("GET", "me/workspaces")["items"]
        found = next((w for w in items if w["name"] == self._workspace_name), None)
        if found is None:
            found = self._call("POST", "workspaces", json={"name": self._workspace_name})
        return str(found["id"])

    def _question(self, dataset: Dataset) -> str:
        """Id of the question that a suggestion answers."""
        items = self._call("GET", f"datasets/{dataset.id}/questions")["items"]
        return str(next(q["id"] for q in items if q["name"] == "preference"))

    def _page(self, dataset: Dataset, offset: int) -> dict[str, Any]:
        params = {"offset": offset, "limit": PAGE, "include": "responses"}
        page: dict[str, Any] = self._call("GET", f"datasets/{dataset.id}/records", params=params)
        return page

    def _push(self, dataset: Dataset, batch: Sequence[Item], question: str) -> None:
        records = {item.record_id: make_record(item, question) for item in batch}
        while records:
            try:
                body = {"items": list(records.values())}
                self._call("POST", f"datasets/{dataset.id}/records/bulk", json=body)
                return
            except RequestRefused as refused:
                if refused.status != _UNPROCESSABLE:
                    raise
                there = {str(r["external_id"]) for r in self.records(dataset, _unseen)}
                left = {k: v for k, v in records.items() if k not in there}
                if len(left) == len(records):
                    raise
                records = left

    def __enter__(self) -> "ArgillaQueue":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _unseen(done: int, total: int, unit: str) -> None:
    pass
