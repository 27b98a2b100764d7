"""People at work: annotators who answer through Argilla's interface, and pairs for them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dpo_core.records import Completion, Pair, Prompt, pair_id
from labeling.people.argilla_parts import Questions
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import Task
from labeling.people.label_queue import Dataset
from labeling.people.log import LabelLog
from labeling.people.task import Item, ItemBuilder, plan_items
from labeling.server import WORKSPACE, Access, add_user


@dataclass(frozen=True)
class Annotator:
    """Somebody who has signed in. `call` is what their browser does."""

    access: Access
    name: str
    id: str
    key: str

    @classmethod
    def new(cls, access: Access, name: str) -> "Annotator":
        add_user(access, name)
        users = call(access, access.api_key, "GET", "users")["items"]
        user = next(user for user in users if user["username"] == name)
        return cls(access, name, user["id"], user["api_key"])

    def call(self, method: str, path: str, **options: Any) -> Any:
        return call(self.access, self.key, method, path, **options)

    def queue(self, dataset: Dataset, status: str = "pending") -> list[dict[str, Any]]:
        """The records that their page shows under that status, by id: the page draws an order."""
        wanted = {"type": "terms", "scope": {"entity": "response", "property": "status"}}
        body = {"filters": {"type": "and", "and": [{**wanted, "values": [status]}]}}
        path = f"me/datasets/{dataset.id}/records/search"
        found = self.call("POST", path, json=body, params={"limit": 500, "include": "responses"})
        records = [item["record"] for item in found["items"]]
        return sorted(records, key=lambda record: str(record["external_id"]))

    def answer(
        self, record: dict[str, Any], choice: str | None, status: str = "submitted", **more: Any
    ) -> dict[str, Any]:
        values = {} if choice is None else {"preference": {"value": choice}}
        values |= {question: {"value": value} for question, value in more.items()}
        body = {"values": values or None, "status": status}
        answer: dict[str, Any] = self.call("POST", f"records/{record['id']}/responses", json=body)
        return answer

    def edit(self, answer: dict[str, Any], choice: str, status: str = "submitted") -> None:
        body = {"values": {"preference": {"value": choice}}, "status": status}
        self.call("PUT", f"responses/{answer['id']}", json=body)


def dataset_named(access: Access, name: str) -> Dataset:
    """What a campaign that waits for people has asked in."""
    with ArgillaQueue(access, WORKSPACE) as queue:
        found = queue.find(name)
    assert found is not None, name
    return found


def call(access: Access, key: str, method: str, path: str, **options: Any) -> Any:
    headers = {"X-Argilla-Api-Key": key}
    url = f"{access.url}/api/v1/{path}"
    answer = httpx.request(method, url, headers=headers, timeout=60, **options)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def pairs(count: int, text: str = "answer") -> list[Pair]:
    def completion(number: int, index: int) -> Completion:
        prompt = Prompt(f"prompt-{text}-{number}", text=f"What is {number}?")
        name = f"{text}-{number}-{index}"
        return Completion(name, prompt, f"{text} {number}, version {index}", "stop", 4, index)

    return [
        Pair(pair_id(f"{text}-{n}-0", f"{text}-{n}-1"), completion(n, 0), completion(n, 1))
        for n in range(count)
    ]


def items_of(found: Sequence[Pair], repeats: int = 0) -> list[Item]:
    return plan_items(
        ItemBuilder(1, 7), [(pair, "picked at random") for pair in found], [], repeats
    )


def new_task(items: Sequence[Item], min_submitted: int = 1, quorum: float = 1.0) -> Task:
    questions = Questions(min_submitted, strength=True, comment=True)
    return Task(f"test-{secrets.token_hex(4)}", questions, "Be fair.", items, quorum)


def new_log(folder: Path) -> LabelLog:
    return LabelLog(folder / "labels" / "01.jsonl")


def silent(done: int, total: int, unit: str) -> None:
    pass
