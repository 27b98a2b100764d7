"""Campaigns written by hand, and the console that shows them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo_summary import HOSTILE
from starlette.testclient import TestClient
from written_campaign import Written

from console.actions import CommandLine
from console.app import Console, create_app
from dpo_core.atomic import write_json, write_text
from dpo_core.campaign.failure import write_failure
from dpo_core.campaign.gate_record import GateCheck
from dpo_core.campaign.waiting import Waiting, write_waiting
from dpo_core.errors import AuditFailed

RECIPE = """# A recipe for tests.
#
# Not shown.
name: made-here
policy: {model: nobody/loads-it}
prompts: {path: prompts.jsonl}
judge: {function: "my:rule"}
sampling: {engine: vllm}
people:
  guidelines: |
    Line one
    Line two
"""


@dataclass
class Shown:
    """A console of `folder`, as a browser sees it."""

    folder: Path
    console: Console
    client: TestClient

    def id(self, name: str) -> str:
        return next(one.id for one in self.console.board.all() if one.name == name)

    def get(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path: str, **form: str) -> tuple[int, str]:
        answer = self.client.post(path, data={"token": self.console.token, **form})
        return answer.status_code, answer.text


def campaign(folder: Path, name: str, rounds: int = 2) -> Written:
    written = Written(folder / "campaigns" / name, name=name)
    for number in range(1, rounds + 1):
        written.round(number)
    return written


def asking(folder: Path, name: str) -> Written:
    """Its second round's gate asks a person."""
    written = campaign(folder, name, 1)
    check = GateCheck("win_rate_gate", 0.52, 0.7, passed=False)
    gate = {
        "action": "ask",
        "reasons": [HOSTILE[0]],
        "checks": [{"name": check.name, "value": 0.52, "bound": 0.7, "passed": False}],
    }
    written.round(2, promoted=False, gate=gate)
    sentence = "round 2 needs your decision: lower bound 48% is not above 50%; see x, then type y"
    asked = Waiting(2, "", "", 1, 1, "2026-01-01", None, sentence, question="q")
    write_waiting(written.layout, asked)
    return written


@contextmanager
def open_console(folder: Path) -> Iterator[Shown]:
    write_text(folder / "recipe.yaml", RECIPE)
    write_text(folder / "other.yaml", "not: a recipe\n")
    campaign(folder, "better")
    asking(folder, "asking")
    labels = campaign(folder, "labels", 1)
    there = Waiting(2, "d", "http://127.0.0.1:1/dataset/d", 20, 7, "2026-01-01", None, "waits")
    write_waiting(labels.layout, there)
    failed = campaign(folder, "failed", 1)
    write_failure(failed.layout, AuditFailed(f"round 2: {HOSTILE[1]}\nmore of it", "Look at it."))
    write_json(folder / "campaigns/broken/campaign.yaml", ["no campaign"])
    command = CommandLine((sys.executable, "-m", "flows.cli"), folder, None)
    console = Console((folder / "campaigns",), command)
    with TestClient(create_app(console)) as client:
        yield Shown(folder, console, client)
