"""Rounds whose numbers are made up, as a campaign on disk."""

from collections.abc import Container
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import RatchetError
from dpo_core.training.results import TrainingFacts
from flows.cli import app
from flows.config import dump_config, validate

CONFIG = {
    "name": "made-up",
    "rounds": 3,
    "threads": 1,
    "policy": {"model": "any"},
    "prompts": {"path": "prompts.jsonl"},
    "judge": {"function": "judge:score"},
}


def made_up(root: Path, rows: list[dict[str, Any]], trained: Container[int] | None = None) -> Store:
    """A campaign of a base and of rounds with these numbers, with weights of one byte; trained:
    the rounds that have any, by default all."""
    root.mkdir()
    (root / "campaign.yaml").write_text(dump_config(validate(CONFIG, "test")), encoding="utf-8")
    store = Store(root, 1)

    def weights(folder: Path) -> StepResult:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(b"w")
        return StepResult(facts=TrainingFacts(policy=f"hash of {folder.parent.name}"))

    store.run(Recipe(0, "base", {}), weights)
    for number, row in enumerate(rows, 1):

        def gate(folder: Path, number: int = number, row: dict[str, Any] = row) -> StepResult:
            write_json(folder / "metrics.json", {"round": number, **row})
            return StepResult(facts=GateFacts(promoted=bool(row.get("promoted"))))

        if trained is None or number in trained:
            store.run(Recipe(number, "training", {}), weights)
        store.run(Recipe(number, "gate", {}), gate)
    return store


def rollback(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["rollback", str(root), *arguments])
    if isinstance(done.exception, RatchetError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output
