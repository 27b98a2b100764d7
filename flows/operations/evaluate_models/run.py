"""`ratchet evaluate`: run the comparison in a temporary folder, and keep what `--out` names."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from rich.console import Console

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact
from dpo_core.errors import BadInput, RatchetError
from dpo_core.records import prompt_row
from dpo_core.schemas import OUTCOMES, PROMPTS
from dpo_core.tables import write_rows
from flows.operations.evaluate_models.compare import (
    ModelComparison,
    compare,
    outcome_rows,
    unpack_gguf,
)
from flows.operations.evaluate_models.numbers import measure_models
from flows.operations.evaluate_models.request import EvaluationRequest
from labeling.exchange.folder import check_free, new_folder
from reporting.models import TwoModelsNumbers
from reporting.progress import CampaignProgress


def run(request: EvaluationRequest, out: Path | None, console: Console) -> TwoModelsNumbers:
    """The metrics of the comparison. out: a new folder for answers and outcomes."""
    if out is not None:
        check_free(out)
    with _folder() as folder:
        with TwoModelsProgress(console, rounds=2) as progress:
            request = unpack_gguf(request, folder, progress)
            compared = compare(request, folder, progress)
        metrics = measure_models(request, compared)
        if out is not None:
            keep(out, request, compared, metrics)
    return metrics


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder, kept if a process failed, for its log."""
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
    path: Path, request: EvaluationRequest, compared: ModelComparison, metrics: TwoModelsNumbers
) -> None:
    """Write prompts.parquet, answers_a.parquet, answers_b.parquet, outcomes.parquet (schemas of
    dpo_core.schemas) and evaluation.json, all or none."""
    with new_folder(path) as folder:
        write_rows(folder / "prompts.parquet", map(prompt_row, request.prompts), PROMPTS)
        for name, answers in zip("ab", compared.answers, strict=True):
            shutil.copyfile(answers, folder / f"answers_{name}.parquet")
        rows = outcome_rows(request, compared, metrics.length_unit)
        write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
        write_json(folder / "evaluation.json", metrics.as_json())


_TITLES = {
    (1, "answers"): "A answers",
    (2, "answers"): "B answers",
    (1, "answer_scores"): "the judge scores A's answers",
    (2, "answer_scores"): "the judge scores B's answers",
}


class TwoModelsProgress(CampaignProgress):
    """Shows which model answers now, and how many answers it gave."""

    def step_started(self, number: int, step: str) -> None:
        super().step_started(number, step)
        self.say(_TITLES.get((number, step), step))

    def step_finished(self, artifact: Artifact) -> None:
        entry = artifact.entry
        if title := _TITLES.get((entry.round, entry.step)):
            self.note(f"{title}: {entry.kept:,} in {entry.seconds:.1f} s")
