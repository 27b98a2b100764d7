"""A small real campaign that several files of tests look at."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from examples.reviews.grammar import prompts
from flows.config.defaults import earlier_defaults
from tests import typed

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
CONFIG: dict[str, Any] = {
    "name": "small",
    "rounds": 2,
    "threads": 1,
    "policy": {
        "build": "examples.reviews.model:build",
        "build_args": {"hidden_size": 32, "layers": 2},
    },
    "sft": {"function": "examples.reviews.grammar:reviews", "steps": 200, "batch_size": 32},
    "prompts": {"path": "prompts.jsonl", "per_round": 24},
    "sampling": {"engine": "transformers", "max_tokens": 24},
    "judge": {"function": "small_judge:score"},
    "pairs": {"truncated": "drop"},
    "training": {"beta": 0.5, "learning_rate": 1e-3, "warmup_steps": 0, "pairs_per_step": 8},
    "evaluation": {"gate_prompts": 24, "test_prompts": 24, "bootstrap_resamples": 200},
    # The lower end of an interval over so few prompts would promote nothing.
    "gate": {"use": "estimate"},
}
UNTRAINED: dict[str, Any] = {
    "threads": 1,
    "policy": {
        "build": "examples.reviews.model:build",
        "build_args": {"hidden_size": 32, "layers": 1},
    },
    "sampling": {"engine": "transformers", "max_tokens": 8},
    "pairs": {"strategy": "random", "truncated": "keep"},
    "training": {"learning_rate": 5e-7, "pairs_per_step": 8},
}
"""Of campaigns in which it matters who is asked and when, and not what the policy writes."""

JUDGE = """
from dpo_core.records import Score

def score(completions):
    '''Shorter answers are better: a model of any quality can learn that.'''
    return [Score(-float(c.tokens), 'short', {'stopped': (c.finished, 1)}) for c in completions]
"""
STEPS = (
    "prompts",
    "completions",
    "scores",
    "pairs",
    "judgements",
    "preferences",
    "audit",
    "training",
    "answers",
    "answer_scores",
    "answer_logps",
    "evaluation",
    "gate",
)


PROMOTE_ALL = tuple(
    part
    for setting in (
        "gate.threshold=0",
        *(f"{key}=null" for key in earlier_defaults(1) if key.startswith("gate.")),
    )
    for part in ("--set", setting)
)
"""Settings under which each round's policy samples in the next, collapsed or not."""
_OUTPUT = "output.txt"
RUN = ("run", "small.yaml", "--campaign-dir", "campaign", "--no-prefect")


class Campaign:
    """A campaign and the folder it is run from, where its prompts and its judge lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "campaign")
        self.variables: dict[str, str] = {}
        """What its commands find in the environment besides what the test itself does."""

    @classmethod
    def create(cls, folder: Path) -> "Campaign":
        """What a user writes before the first run: prompts, a judge and a config."""
        rows = [json.dumps(row) for row in list(prompts())[::20]]
        (folder / "prompts.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (folder / "small_judge.py").write_text(JUDGE, encoding="utf-8")
        (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        return cls(folder)

    @property
    def output(self) -> str:
        """What the run said that made it."""
        return (self.folder / _OUTPUT).read_text(encoding="utf-8")

    def keep_output(self, output: str) -> None:
        (self.folder / _OUTPUT).write_text(output, encoding="utf-8")

    def copied(self, folder: Path) -> "Campaign":
        """The same campaign, moved: its prompt file keeps its path."""
        shutil.copytree(self.folder, folder)
        path = str((self.folder / "prompts.jsonl").resolve())
        config = {**CONFIG, "prompts": {**CONFIG["prompts"], "path": path}}
        (folder / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return Campaign(folder)

    def ratchet(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return typed.ratchet(arguments, self.folder, self.environment())

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.ratchet(*RUN, *arguments)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **self.variables}

    def entries(self) -> list[Entry]:
        return Ledger(self.layout.ledger).read()

    def artifact(self, number: int, step: str) -> Artifact:
        found = current_artifact(self.layout, number, step)
        assert found is not None, (number, step)
        return found


def finish(folder: Path) -> None:
    """Make a campaign in `folder` and run it to its end."""
    campaign = Campaign.create(folder)
    done = campaign.run()
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    campaign.keep_output(done.stdout)
