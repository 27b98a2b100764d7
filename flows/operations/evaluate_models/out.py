"""What `ratchet evaluate --out DIR` keeps: every answer, every outcome, the numbers."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.records import OUTCOMES, PROMPTS, prompt_row
from dpo_core.tables import write_rows
from flows.operations.evaluate_models.asked import Asked
from flows.operations.evaluate_models.compare import Compared, outcome_rows
from labeling.exchange.folder import new_folder


def keep(path: Path, asked: Asked, compared: Compared, numbers: Mapping[str, Any]) -> None:
    """Write the folder as a whole: prompts.parquet, answers_a.parquet, answers_b.parquet,
    outcomes.parquet (schemas of dpo_core.records) and evaluation.json."""
    with new_folder(path) as folder:
        write_rows(folder / "prompts.parquet", map(prompt_row, asked.prompts), PROMPTS)
        for name, answers in zip("ab", compared.answers, strict=True):
            shutil.copyfile(answers, folder / f"answers_{name}.parquet")
        rows = outcome_rows(compared, numbers["length_unit"])
        opponent = asked.models[1].name
        kept = ({"opponent": opponent, **row} for row in rows)
        write_rows(folder / "outcomes.parquet", kept, OUTCOMES)
        write_json(folder / "evaluation.json", numbers)
