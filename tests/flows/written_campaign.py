"""A campaign's folder written by hand: finished rounds that nobody trained."""

from pathlib import Path
from typing import Any

import pandas as pd
from demo_summary import metrics

from dpo_core.atomic import write_json, write_text
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe, Store
from dpo_core.training.results import TrainingFacts
from flows.config import dump_config, validate

CONFIG: dict[str, Any] = {
    "name": "written",
    "rounds": 3,
    "threads": 1,
    "policy": {"model": "nobody/loads-it"},
    "prompts": {"function": "my:prompts"},
    "judge": {"function": "my:rule"},
}
STEPS = 4
"""Optimiser steps of each training."""


class Written:
    """Rounds are added one by one; `again` makes a round anew, with other numbers."""

    def __init__(self, root: Path, **sections: Any) -> None:
        self.layout = Layout(root)
        self.root = root
        write_text(self.layout.config, dump_config(validate({**CONFIG, **sections}, "test")))
        self.store = Store(root, 1)

    def round(self, number: int, again: int = 0, **more: Any) -> dict[str, Any]:
        """The round's row."""
        row = {**metrics(number, 0.6 + 0.02 * number + 0.01 * again, 0.55, 0.57, 0.2), **more}
        self.training(number, again)

        def make(folder: Path) -> StepResult:
            write_json(folder / "metrics.json", {"decision": "promoted: it won", **row})
            return StepResult(facts=GateFacts(promoted=row["promoted"]))

        self.store.run(Recipe(number, "gate", {"again": again}), make)
        return row

    def training(self, number: int, again: int = 0) -> Artifact:
        def make(folder: Path) -> StepResult:
            rows = [{"step": s, "loss": 0.7 - 0.1 * s, "chosen": None} for s in range(1, STEPS + 1)]
            pd.DataFrame(rows).to_parquet(folder / "training.parquet", index=False)
            policy = folder / "policy"
            policy.mkdir()
            (policy / "config.json").write_text('{"model_type": "llama"}')
            (policy / "model.safetensors").write_bytes(b"weights " + bytes([number]))
            return StepResult(facts=TrainingFacts(policy=f"{number:064x}"))

        return self.store.run(Recipe(number, "training", {"again": again}), make)
