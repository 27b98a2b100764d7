"""The only module that imports Argilla's client: datasets of a workspace, their records, answers.

The client makes datasets. Records go through its HTTP connection, because its own models drop what
the counting of answers rests on: an answer's id and when it was last changed. Every request is
tried again with growing waits when the server does not answer or answers that it failed; a request
that did succeed unheard is safe to repeat, or says that it is a repetition.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import argilla
import httpx
from argilla._exceptions import (
    ArgillaAPIError,
    ArgillaCredentialsError,
    ArgillaError,
    SettingsError,
)

from dpo_core.errors import LabelsError, LabelServerFailed
from labeling.people.task import CHOICES, Item
from labeling.server import Access

T = TypeVar("T")

Progress = Callable[[int, int, str], None]
"""Called with how many of how many things are done, and what they are."""

PAGE = 500
_BATCH = 250
_BATCH_CHARACTERS = 4_000_000
_DELETE_AT_ONCE = 100
_STRENGTHS = (1, 2, 3)
_SAID = 500
_UNAUTHORIZED, _UNPROCESSABLE, _TOO_MANY = 401, 422, 429


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and the waits before it is tried again."""

    timeout_s: float = 60.0
    waits_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0)


IMPATIENT = Patience(timeout_s=10.0, waits_s=())
"""For those who will look again soon."""


@dataclass(frozen=True)
class Questions:
    """What people are asked about each record; of a dataset it can never be changed."""

    min_submitted: int
    strength: bool
    comment: bool


@dataclass(frozen=True)
class Dataset:
    id: str
    name: str
    url: str


class Refused(LabelServerFailed):
    """The server did not take what it was sent; trying again would not help."""

    def __init__(self, where: str, status: int, said: str) -> None:
        super().__init__(f"Argilla at {where} answered {status}: {said}")
        self.status = status


class ArgillaQueue:
    """A workspace of an Argilla server. A context manager that closes the connection.

    Raises LabelServerFailed where the server does not answer, LabelsError for a key it refuses.
    """

    def __init__(self, access: Access, workspace: str, patience: Patience = Patience()) -> None:
        self._shown = shown_url(access.url)
        self._patience = patience
        self._workspace_name = workspace
        self._client: argilla.Argilla = self._tried(
            lambda: argilla.Argilla(
                api_url=access.url,
                api_key=access.api_key,
                timeout=patience.timeout_s,
                retries=0,
            )
        )
        self._http: httpx.Client = self._client.http_client

    def dataset(self, name: str, questions: Questions, guidelines: str) -> Dataset:
        """The dataset of that name; made if there is none."""
        found = self._find(name)
        if found is not None and found["status"] == "draft":  # making it was interrupted
            self._call("DELETE", f"datasets/{found['id']}")
            found = None
        if found is None:
            self._tried(lambda: self._create(name, questions, guidelines))
            found = self._find(name)
            assert found is not None, "it was made"
        elif found["guidelines"] != guidelines:
            self._call("PATCH", f"datasets/{found['id']}", json={"guidelines": guidelines})
        return self._described(found)

    def find(self, name: str) -> Dataset | None:
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
        for batch in _batches(items):
            self._push(dataset, batch, question)
            done += len(batch)
            progress(done, len(items), "records sent")

    def remove(self, dataset: Dataset, server_ids: Sequence[str]) -> None:
        for start in range(0, len(server_ids), _DELETE_AT_ONCE):
            ids = ",".join(server_ids[start : start + _DELETE_AT_ONCE])
            self._call("DELETE", f"datasets/{dataset.id}/records", params={"ids": ids})

    def progress(self, dataset: Dataset) -> dict[str, Any]:
        """Argilla's own count: records in `total` and `completed`, and answers of its `users`."""
        counts: dict[str, Any] = self._call("GET", f"datasets/{dataset.id}/progress")
        users: dict[str, Any] = self._call("GET", f"datasets/{dataset.id}/users/progress")
        return {**counts, **users}

    def names(self) -> dict[str, str]:
        """user id → name; of all users if the key is an owner's, else of the workspace's."""
        try:
            users = self._call("GET", "users")["items"]
        except Refused:
            users = self._call("GET", f"workspaces/{self._workspace()}/users")["items"]
        return {str(user["id"]): str(user["username"]) for user in users}

    def _create(self, name: str, questions: Questions, guidelines: str) -> None:
        found = self._find(name)
        if found is not None:  # by a try whose answer was lost
            return
        self._workspace()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            argilla.Dataset(
                name=name,
                workspace=self._workspace_name,
                settings=_settings(questions, guidelines),
                client=self._client,
            ).create()

    def _described(self, found: Mapping[str, Any]) -> Dataset:
        url = f"{self._shown}/dataset/{found['id']}/annotation-mode"
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
        records = {item.record_id: _record(item, question) for item in batch}
        while records:
            try:
                body = {"items": list(records.values())}
                self._call("POST", f"datasets/{dataset.id}/records/bulk", json=body)
                return
            except Refused as refused:
                if refused.status != _UNPROCESSABLE:
                    raise
                there = {str(r["external_id"]) for r in self.records(dataset, _unseen)}
                left = {k: v for k, v in records.items() if k not in there}
                if len(left) == len(records):
                    raise
                records = left

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON that the server answers. Raises Refused where it answers that it will not."""

        def call() -> Any:
            answer = self._http.request(method, f"/api/v1/{path}", **options)
            answer.raise_for_status()
            return answer.json() if answer.content else None

        return self._tried(call)

    def _tried(self, call: Callable[[], T]) -> T:
        for wait in (*self._patience.waits_s, None):
            try:
                return call()
            except (httpx.HTTPError, ArgillaError) as error:
                status, said = _status(error)
                if status == _UNAUTHORIZED:
                    raise self._no_entry() from None
                if status is not None and status < 500 and status != _TOO_MANY:
                    raise Refused(self._shown, status, said) from None
                if wait is None:
                    raise self._silent(said) from None
                time.sleep(wait)
        raise AssertionError("the last wait is None")

    def _no_entry(self) -> LabelsError:
        return LabelsError(
            f"Argilla at {self._shown} refuses the API key",
            "It takes the key of an owner, or of an admin of the workspace: that of "
            "credentials.json beside the server, or ARGILLA_API_KEY.",
        )

    def _silent(self, said: str) -> LabelServerFailed:
        return LabelServerFailed(
            f"Argilla at {self._shown} does not answer: {said}",
            "Start it with `ratchet label serve`, then type the same `ratchet run` again; "
            "no label is lost.",
        )

    def __enter__(self) -> "ArgillaQueue":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()


def shown_url(url: str) -> str:
    """Without a user and a password, which an address may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")


def _settings(questions: Questions, guidelines: str) -> argilla.Settings:
    asked = [
        argilla.LabelQuestion(
            name="preference", title="Which response is better?", labels=list(CHOICES)
        )
    ]
    if questions.strength:
        asked.append(
            argilla.RatingQuestion(
                name="strength", title="How much better?", values=list(_STRENGTHS), required=False
            )
        )
    if questions.comment:
        asked.append(argilla.TextQuestion(name="comment", title="Comment", required=False))
    return argilla.Settings(
        guidelines=guidelines,
        fields=[
            argilla.ChatField(name="prompt", title="Prompt", use_markdown=True),
            argilla.TextField(name="response_a", title="Response A", use_markdown=True),
            argilla.TextField(name="response_b", title="Response B", use_markdown=True),
        ],
        questions=asked,
        metadata=[
            argilla.IntegerMetadataProperty(name="round", title="Round"),
            argilla.TermsMetadataProperty(name="tags", title="Tags of the prompt"),
            argilla.IntegerMetadataProperty(name="length_a", title="Length of A"),
            argilla.IntegerMetadataProperty(name="length_b", title="Length of B"),
        ],
        distribution=argilla.TaskDistribution(min_submitted=questions.min_submitted),
    )


def _record(item: Item, question: str) -> dict[str, Any]:
    """A record as the server takes it."""
    record: dict[str, Any] = {
        "external_id": item.record_id,
        "fields": {
            "prompt": [{"role": role, "content": content} for role, content in item.seen.prompt],
            "response_a": item.seen.response_a,
            "response_b": item.seen.response_b,
        },
        "metadata": dict(item.metadata),
    }
    if item.opinion is not None:
        record["suggestions"] = [
            {
                "question_id": question,
                "value": item.opinion.choice,
                "score": item.opinion.confidence,
                "agent": item.opinion.agent,
                "type": "model",
            }
        ]
    return record


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items in their order, few enough and short enough for one request."""
    batch: list[Item] = []
    characters = 0
    for item in items:
        length = len(item.seen.response_a) + len(item.seen.response_b)
        length += sum(len(content) for _, content in item.seen.prompt)
        if batch and (len(batch) == _BATCH or characters + length > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(item)
        characters += length
    if batch:
        yield batch


def _status(error: Exception) -> tuple[int | None, str]:
    """(HTTP status, what was said); None where no answer came."""
    if isinstance(error, SettingsError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code, error.response.text[:_SAID]
    if isinstance(error, ArgillaCredentialsError):
        return _UNAUTHORIZED, ""
    if isinstance(error, ArgillaAPIError):
        return error.status_code, str(error)[:_SAID]
    return None, f"{type(error).__name__}: {error}"


def _unseen(done: int, total: int, unit: str) -> None:
    pass
