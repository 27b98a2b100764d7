"""Real campaigns that wait for people, the processes they leave, and somebody who answers."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from small_campaign import UNTRAINED

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from examples.reviews.grammar import prompts
from labeling.server import Access
from tests import typed
from tests.living import living
from tests.resealed import reseal
from tests.until import until

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 300
ASKED = 3
_MARK = "RATCHET_TEST_MARK"
CONFIG: dict[str, Any] = {
    **UNTRAINED,
    "name": "patient",
    "rounds": 1,
    "prompts": {"path": "prompts.jsonl", "per_round": 12},
    "judge": {
        "kind": "committee",
        "members": [
            {"kind": "rule", "function": "patient_judge:score"},
            {"kind": "human"},
        ],
    },
    "people": {"poll_s": 1},
    "budget": {"human_labels": ASKED},
    "evaluation": {"gate_prompts": 4, "test_prompts": 4, "bootstrap_resamples": 50},
}


JUDGE = """
def score(completions):
    '''An untrained policy's answers differ in their length, if in nothing else.'''
    return [float(len(completion.text)) for completion in completions]
"""


class Patient:
    """A campaign in a folder of its own, run by real processes that carry a mark of their own."""

    def __init__(self, folder: Path, access: Access | None, server_dir: Path | None = None) -> None:
        self.folder = folder
        self.layout = Layout(folder / "campaign")
        self.mark = uuid.uuid4().hex
        self._access = access
        self._server_dir = server_dir

    def create(self) -> "Patient":
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps(row) for row in list(prompts())[::30]]
        path = self.folder / "prompts.jsonl"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        config = {**CONFIG, "prompts": {**CONFIG["prompts"], "path": str(path)}}
        (self.folder / "patient_judge.py").write_text(JUDGE, encoding="utf-8")
        (self.folder / "patient.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return self

    def copied(
        self, folder: Path, access: Access | None, server_dir: Path | None = None
    ) -> "Patient":
        """The same campaign up to where people are asked, so that it asks on its own."""
        copy = Patient(folder, access, server_dir)
        shutil.copytree(self.folder, folder)
        shutil.rmtree(copy.layout.root / "labels")
        shutil.rmtree(copy.layout.prefect)
        copy.layout.waiting.unlink()
        return copy

    def command(self, *arguments: str) -> list[str]:
        served = ["--set", f"people.server_dir={self._server_dir}"] if self._server_dir else []
        config = ("patient.yaml", "--campaign-dir", "campaign")
        asks = arguments[0] in ("run", "submit")
        words = (arguments[0], *config, *served, *arguments[1:]) if asks else arguments
        return [sys.executable, "-m", "flows.cli", *words]

    def environment(self) -> dict[str, str]:
        mine = {_MARK: self.mark, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        if self._access is not None:
            mine |= {"ARGILLA_API_URL": self._access.url, "ARGILLA_API_KEY": self._access.api_key}
        return {**os.environ, **mine}

    def ratchet(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        _, _, _, *words = self.command(*arguments)
        return typed.ratchet(tuple(words), self.folder, self.environment())

    def start(self, *arguments: str) -> "Running":
        return Running(self, arguments)

    def processes(self) -> dict[int, str]:
        """pid → command line of every living process that this campaign's commands started."""
        return living(f"{_MARK}={self.mark}")

    def asked(self) -> str:
        """The dataset in Argilla of round 1."""
        return str(json.loads(self.layout.waiting.read_text(encoding="utf-8"))["dataset"])

    def days_pass(self, days: float) -> None:
        """As if everything about the labels had been written so many days ago."""
        path = self.layout.labels(1)

        def earlier(event: dict[str, Any]) -> None:
            at = datetime.fromisoformat(event["logged_at"]) - timedelta(days=days)
            event["logged_at"] = at.isoformat()

        reseal(path, earlier)

    def steps(self) -> list[str]:
        return [entry.step for entry in Ledger(self.layout.ledger).read() if entry.round == 1]

    def labels_fact(self, name: str) -> Any:
        made = (e for e in Ledger(self.layout.ledger).read() if e.step == "labels")
        return next(made).facts[name]


class Running:
    """A command that runs on beside the test. A context manager that ends it."""

    def __init__(self, campaign: Patient, arguments: tuple[str, ...]) -> None:
        self.campaign = campaign
        self.log = campaign.folder / f"out-{uuid.uuid4().hex[:6]}.txt"
        with self.log.open("wb") as log:
            _, _, _, *words = campaign.command(*arguments)
            env = {**campaign.environment(), "PYTHONUNBUFFERED": "1"}
            self.process = typed.start(tuple(words), campaign.folder, env, log)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def says(self, text: str) -> float:
        """Wait until it has said `text`; the seconds that took."""
        return until(lambda: self._said(text), lambda: f"not said: {text}\n{self.output()}")

    def _said(self, text: str) -> bool:
        ended = self.process.poll() is not None
        said = text in self.output()
        assert said or not ended, f"ended without saying: {text}\n{self.output()}"
        return said

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        until(lambda: not self.campaign.processes(), lambda: str(self.campaign.processes()))


def answer(access: Access, dataset: str) -> int:
    """Somebody answers all records of the dataset that they have not answered; how many."""
    headers = {"X-Argilla-Api-Key": access.api_key}
    with httpx.Client(base_url=f"{access.url}/api/v1", headers=headers, timeout=60) as http:
        found = http.get("/me/datasets").raise_for_status().json()["items"]
        id = next(item["id"] for item in found if item["name"] == dataset)
        pending = {"type": "terms", "values": ["pending"]}
        pending |= {"scope": {"entity": "response", "property": "status"}}
        page = http.post(
            f"/me/datasets/{id}/records/search",
            json={"filters": {"type": "and", "and": [pending]}},
            params={"limit": 100},
        )
        records = [item["record"] for item in page.raise_for_status().json()["items"]]
        for record in records:
            body = {"values": {"preference": {"value": "A"}}, "status": "submitted"}
            http.post(f"/records/{record['id']}/responses", json=body).raise_for_status()
        return len(records)


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return connection.execute(query).fetchall()
