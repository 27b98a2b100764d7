"""Pushing pairs to Argilla and collecting the answers, against the plain client on the same server.

    python -m benchmarks.labels [--pairs 10000] [--answered 0.1] [--json FILE]

Both sides send the same pairs, first one and then the other, to datasets of their own; an annotator
answers a share of each, unmeasured; then both read everything back. Ours also keeps the log of what
was asked and answered. Wall seconds contain the server's work, CPU-seconds are of this process.
"""

import sys
import tempfile
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import add_json_option, machine, write_result
from dpo_core.records import Completion, Pair, Prompt, pair_id
from labeling.people.argilla_parts import Questions
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import Task, ask, collect
from labeling.people.log import LabelLog
from labeling.people.task import Item, ItemBuilder, plan_items
from labeling.server import WORKSPACE, Access, add_user, running

_AT_ONCE = 100
_ANNOTATOR = "benchmarked"
_WORDS = "a review of the film says that its second half drags while the music carries it along"


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float


def pairs(count: int) -> list[Pair]:
    """Of about 60 and twice 120 words."""

    def completion(number: int, index: int) -> Completion:
        prompt = Prompt(f"prompt-{number}", text=f"{number}. " + " ".join([_WORDS] * 4))
        text = f"Answer {index} to {number}. " + " ".join([_WORDS] * 8)
        return Completion(f"c-{number}-{index}", prompt, text, "stop", 120, index)

    return [
        Pair(pair_id(f"c-{n}-0", f"c-{n}-1"), completion(n, 0), completion(n, 1))
        for n in range(count)
    ]


def measured(work: Callable[[], Any]) -> tuple[Any, Cost]:
    started, cpu = time.monotonic(), time.process_time()
    found = work()
    return found, Cost(time.monotonic() - started, time.process_time() - cpu)


def ours(access: Access, items: Sequence[Item], folder: Path, answer: "Answers") -> dict[str, Cost]:
    task = Task("ours", Questions(1, False, True), "Compare.", items, 1.0)
    log = LabelLog(folder / "labels.jsonl")
    with ArgillaQueue(access, WORKSPACE) as queue:
        dataset, push = measured(lambda: ask(queue, log, task, _silent))
        given = answer(dataset.id)
        found, read = measured(lambda: collect(queue, dataset, log, _silent))
        assert (len(found.server_ids), found.new) == (len(items), given), "all of it"
    return {"push": push, "collect": read}


def plain(access: Access, items: Sequence[Item], answer: "Answers") -> dict[str, Cost]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import argilla as rg

        client = rg.Argilla(api_url=access.url, api_key=access.api_key)
        settings = rg.Settings(
            guidelines="Compare.",
            fields=[
                rg.ChatField(name="prompt"),
                rg.TextField(name="response_a", use_markdown=True),
                rg.TextField(name="response_b", use_markdown=True),
            ],
            questions=[
                rg.LabelQuestion(name="preference", labels=["A", "B", "Tie", "Both bad"]),
                rg.TextQuestion(name="comment", required=False),
            ],
            metadata=[
                rg.IntegerMetadataProperty(name=name) for name in ("round", "length_a", "length_b")
            ],
        )
        dataset = rg.Dataset(name="plain", workspace=WORKSPACE, settings=settings, client=client)

        def send() -> None:
            dataset.create()
            dataset.records.log([_as_record(rg, item) for item in items])

        _, push = measured(send)
        given = answer(str(dataset.id))
        found, read = measured(lambda: list(dataset.records(with_suggestions=False)))
        client.http_client.close()
        answers = sum(len(list(record.responses)) for record in found)
        assert (len(found), answers) == (len(items), given), "all of it"
    return {"push": push, "collect": read}


def _as_record(rg: Any, item: Item) -> Any:
    return rg.Record(
        id=item.record_id,
        fields={
            "prompt": [{"role": role, "content": content} for role, content in item.seen.prompt],
            "response_a": item.seen.response_a,
            "response_b": item.seen.response_b,
        },
        metadata=dict(item.metadata),
    )


class Answers:
    """An annotator who answers `count` records of a dataset."""

    def __init__(self, access: Access, count: int) -> None:
        self.count = count
        self.base = f"{access.url}/api/v1/"
        self.owner = {"X-Argilla-Api-Key": access.api_key}
        add_user(access, _ANNOTATOR)
        users = httpx.get(f"{self.base}users", headers=self.owner).json()["items"]
        key = next(user["api_key"] for user in users if user["username"] == _ANNOTATOR)
        self.annotator = {"X-Argilla-Api-Key": key}

    def __call__(self, dataset_id: str) -> int:
        with httpx.Client(base_url=self.base, timeout=300) as http:
            for start in range(0, self.count, _AT_ONCE):
                params = {"offset": start, "limit": min(_AT_ONCE, self.count - start)}
                path = f"datasets/{dataset_id}/records"
                page = http.get(path, params=params, headers=self.owner).json()["items"]
                body = {"items": [_answer(record["id"]) for record in page]}
                answered = http.post("me/responses/bulk", json=body, headers=self.annotator)
                answered.raise_for_status()
        return self.count


def _answer(record_id: str) -> dict[str, Any]:
    values = {"preference": {"value": "A"}}
    return {"record_id": record_id, "values": values, "status": "submitted"}


def compare(access: Access, count: int, answered: float) -> dict[str, Any]:
    """side → push and collect → its cost."""
    items = plan_items(ItemBuilder(1, 0), [(pair, "") for pair in pairs(count)], [], 0)
    answer = Answers(access, round(count * answered))
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "plain client": plain(access, items, answer),
            "Ratchet": ours(access, items, Path(folder), answer),
        }
    return {
        side: {work: vars(cost) for work, cost in found.items()} for side, found in sides.items()
    }


def _silent(done: int, total: int, unit: str) -> None:
    pass


def _show(found: dict[str, Any], count: int) -> None:
    print(f"{count:,} pairs{'':12} {'plain client':>22} {'Ratchet':>22}   ratio wall, CPU")
    for work in ("push", "collect"):
        theirs, our = found["plain client"][work], found["Ratchet"][work]
        columns = [f"{c['seconds']:8.1f} s, CPU {c['cpu_seconds']:6.1f} s" for c in (theirs, our)]
        ratios = [our[key] / max(theirs[key], 1e-9) for key in ("seconds", "cpu_seconds")]
        print(f"{work:<20} {columns[0]:>22} {columns[1]:>22}   {ratios[0]:.2f}, {ratios[1]:.2f}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, prog="python -m benchmarks.labels")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--answered", type=float, default=0.1, help="share of the pairs")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        found = compare(server.access, options.pairs, options.answered)
    _show(found, options.pairs)
    write_result({"machine": machine(), "pairs": options.pairs, **found}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
