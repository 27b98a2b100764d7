"""`ratchet evaluate`: in a temporary folder, of which at most what was asked for is kept."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from rich.console import Console

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact
from dpo_core.errors import BadInput, RatchetError
from dpo_core.records import prompt_row
from dpo_core.schemas import OUTCOMES, PROMPTS
from dpo_core.tables import write_rows
from flows.operations.evaluate_models.request import EvaluationRequest
from flows.operations.evaluate_models.compare import (
    ModelComparison,
    compare,
    outcome_rows,
    unpack_gguf,
)
from flows.operations.evaluate_models.numbers import measure_models
from flows.progress import CampaignProgress
from labeling.exchange.folder import check_free, new_folder


def run(asked: EvaluationRequest, out: Path | None, console: Console) -> dict[str, Any]:
    """The numbers of the comparison. out: a new folder that keeps answers and outcomes."""
    if out is not None:
        check_free(out)
    with _folder() as folder:
        with TwoModelsProgress(console, rounds=2) as progress:
            asked = unpack_gguf(asked, folder, progress)
            compared = compare(asked, folder, progress)
        found = measure_models(asked, compared)
        if out is not None:
            keep(out, asked, compared, found)
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary one, left where it is when a process failed: its log lies there."""
    folder = Path(mkdtemp(prefix="ratchet-evaluate-"))
    failed = False
    try:
        yield folder
    except RatchetError as error:
        failed = not isinstance(error, BadInput)
        raise
    finally:
        if not failed:
            rmtree(folder, ignore_errors=True)


def keep(
    path: Path, asked: EvaluationRequest, compared: ModelComparison, numbers: Mapping[str, Any]
) -> None:
    """Write the folder as a whole: prompts.parquet, answers_a.parquet, answers_b.parquet,
    outcomes.parquet (schemas of dpo_core.records) and evaluation.json."""
    with new_folder(path) as folder:
        write_rows(folder / "prompts.parquet", map(prompt_row, asked.prompts), PROMPTS)
        for name, answers in zip("ab", compared.answers, strict=True):
            shutil.copyfile(answers, folder / f"answers_{name}.parquet")
        rows = outcome_rows(compared, measure_models["length_unit"])
        opponent = asked.models[1].name
        kept = ({"opponent": opponent, **row} for row in rows)
        write_rows(folder / "outcomes.parquet", kept, OUTCOMES)
        write_json(folder / "evaluation.json", measure_models)


_WHAT = {
    (1, "answers"): "A answers",
    (2, "answers"): "B answers",
    (1, "answer_scores"): "the judge scores A's answers",
    (2, "answer_scores"): "the judge scores B's answers",
}


class TwoModelsProgress(CampaignProgress):
    """Says which model answers now, and how many answers that came to."""

    def step_started(self, number: int, step: str) -> None:
        super().step_started(number, step)
        self.say(_WHAT.get((number, step), step))

    def step_finished(self, artifact: Artifact) -> None:
        entry = artifact.entry
        if what := _WHAT.get((entry.round, entry.step)):
            self.note(f"{what}: {entry.kept:,} in {entry.seconds:.1f} s")
