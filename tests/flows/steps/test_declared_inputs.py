"""A step reads what it declares, and nothing else of the campaign: looked at from the kernel."""

import json
import os
import re
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from user_folder import ROOT, TIMEOUT_S, TINY, command, user_folder

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "judges"))
sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "people"))
from annotators import Annotator
from faulty_proxy import proxied
from loopback import KEY, Loopback
from opened_files import Read, reads, traced, undeclared

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from labeling.audit.checks import CHECKS
from labeling.people.label_queue import Dataset
from labeling.people.task import CHOICES
from labeling.server import Access
from tests.shared_argilla import SharedArgilla

JUDGES = """
import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq


def longer(completions):
    return [float(len(c.text)) for c in completions]


def shorter(completions):
    return [-float(len(c.text)) for c in completions]


def peeking(completions):
    '''Reads what its step does not declare: past Python, and in a process of its own.'''
    found = [next(Path(os.environ["CAMPAIGN"]).glob(name), None) for name in PEEKED]
    if None in found:  # tried before the campaign begins
        return longer(completions)
    prompts, model = found
    pq.read_table(prompts)
    subprocess.run(["cat", str(model)], stdout=subprocess.DEVNULL, check=True)
    return longer(completions)


PEEKED = ("rounds/00/held_out-*/prompts.parquet", "rounds/00/base-*/policy/config.json")


def examples(seed):
    return [{"prompt": f"one {word}", "completion": " two three"} for word in ("two", "six")]
"""
GOLD = {"prompt": "one two", "a": " one two", "b": " three", "verdict": "a"}


def config(url: str) -> dict[str, Any]:
    """Every optional section of which no accelerator is needed.

    People are asked and not waited for. What they answered meanwhile is read when the refused round
    is tried again.
    """
    return {
        **TINY,
        "name": "everything",
        "rounds": 2,
        "sft": {"function": "watched_judges:examples", "steps": 1, "batch_size": 2},
        "judge": {
            "kind": "committee",
            "members": [
                {"function": "watched_judges:longer"},
                {"kind": "llm", "endpoint": url, "model": "m", "api_key_env": "LOOPBACK_KEY"},
                {"kind": "human"},
            ],
        },
        "people": {
            "choose": "random",
            "gold": "gold.jsonl",
            "gold_share": 0.2,
            "repeat_share": 0.2,
            "deadline_hours": 1e-9,
            "at_deadline": "judge",
        },
        "budget": {"human_labels": 6},
        "aggregation": {"calibrate": True},
        "evaluation_judge": {"function": "watched_judges:shorter"},
        "audit": {"allow": list(CHECKS)},
        "data": {"rounds": "all"},
        "training": {
            **TINY["training"],
            "learning_rate": 1e-3,
            "lora": {"rank": 2},
            "reference": "base",
        },
        "evaluation": {
            **TINY["evaluation"],
            "opponents": "all",
            "relevance": 4,
            "suites": {
                "peeking": {
                    "prompts": "suite.jsonl",
                    "judge": {"function": "watched_judges:peeking"},
                }
            },
        },
        "gate": {
            "false_promotions": 0.5,
            "at_most_prompts": 8,
            "otherwise": "retry",
            "retry": {"changes": [{"budget.human_labels": 5}]},
        },
        "track": "mlflow",
    }


class Labeller:
    """Somebody who has always answered what there is when the campaign looks."""

    def __init__(self, access: Access) -> None:
        self._annotator = Annotator.new(access, f"ann-{uuid.uuid4().hex[:6]}")

    def __call__(self, method: str, path: str) -> None:
        looks_at = re.fullmatch(r"GET /api/v1/datasets/([^/]+)/records\?.*", f"{method} {path}")
        if looks_at is not None:
            pending = self._annotator.queue(Dataset(looks_at[1], "", ""))
            for number, record in enumerate(pending):
                self._annotator.answer(record, CHOICES[number % len(CHOICES)])


@pytest.fixture(scope="module")
def watched(
    argilla: SharedArgilla, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Read]]:
    """A campaign, and what was read of it while steps were made; the judge of one suite peeks."""
    if shutil.which("strace") is None:
        pytest.fail("this test needs strace; as root: apt-get install -y strace")
    folder = user_folder(tmp_path_factory.mktemp("watched").resolve())
    (folder / "watched_judges.py").write_text(JUDGES, encoding="utf-8")
    (folder / "gold.jsonl").write_text(json.dumps(GOLD), encoding="utf-8")
    campaign, trace = folder / "campaign", folder / "trace"
    labeller = Labeller(argilla.access)
    with Loopback() as endpoint, proxied(argilla.access.url, labeller) as labels:
        (folder / "everything.yaml").write_text(yaml.safe_dump(config(endpoint.url)))
        environment = {
            "PYTHONPATH": f"{ROOT}:{folder}",
            "CAMPAIGN": str(campaign),
            "LOOPBACK_KEY": KEY,
            "ARGILLA_API_URL": labels.url,
            "ARGILLA_API_KEY": argilla.access.api_key,
            "MLFLOW_TRACKING_URI": (folder / "mlflow").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }
        done = traced(
            command("everything.yaml"),
            trace,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 0, done.stderr + done.stdout
    return campaign, list(reads(trace, campaign))


def entries(campaign: Path, step: str | None = None) -> list[Entry]:
    found = Ledger(Layout(campaign).ledger).read()
    return [entry for entry in found if step in (None, entry.step)]


def test_every_kind_of_step_was_watched(watched: tuple[Path, list[Read]]) -> None:
    campaign, found = watched
    made = {entry.step for entry in entries(campaign)}
    assert {"base", "scores", "judgements", "data", "audit", "suite_peeking", "gate"} <= made
    assert {"gate_pool", "certificate", "labels", "calibration", "answer_relevance"} <= made
    # The first step draws from the user's prompts alone.
    assert {read.step for read in found} == made - {"held_out"}
    assert {".parquet", ".safetensors", ".json"} <= {Path(read.file).suffix for read in found}


def test_rounds_were_tried_again_and_people_and_a_tracker_were_there(
    watched: tuple[Path, list[Read]],
) -> None:
    campaign, _ = watched
    gates = [(entry.round, entry.facts["gate"]["attempt"]) for entry in entries(campaign, "gate")]
    assert gates == [(1, 1), (1, 2), (2, 1), (2, 2)]
    answered = [sum(e.facts["answers"].values()) for e in entries(campaign, "labels")]
    assert [bool(count) for count in answered] == [False, True, False, True]
    told = json.loads(Layout(campaign).tracking.read_text())["trackers"]["mlflow"]
    assert len(told["rounds"]) == 2 and told["finished"]


def test_no_step_reads_what_it_does_not_declare(watched: tuple[Path, list[Read]]) -> None:
    """But for the judge that peeks, which shows that such a read is seen: from Arrow's C++, and
    from a child."""
    campaign, found = watched
    [prompts] = campaign.glob("rounds/00/held_out-*/prompts.parquet")
    [model] = campaign.glob("rounds/00/base-*/policy/config.json")
    assert undeclared(found, campaign) == {
        Read(number, "suite_peeking_scores", str(peeked.relative_to(campaign)))
        for number in (0, 1, 2)
        for peeked in (prompts, model)
    }
