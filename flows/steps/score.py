"""Step `scores`: the pointwise judges score every completion."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import SCORES, Score, score_row
from dpo_core.tables import write_rows
from flows.judge_answers import judge_config, judges_functions, judges_models
from flows.read_back.completions import read_completions
from flows.session import Session
from labeling.judges.config import AnyJudgeConfig, machines
from labeling.judges.make import pointwise_judge
from labeling.judges.protocol import PointwiseJudge, score_all


def score(
    session: Session,
    number: int,
    completions: Artifact,
    prompts: Artifact,
    config: AnyJudgeConfig,
    step: str = "scores",
) -> Artifact | None:
    """Scores of all completions by each pointwise judge of `config`, or None when it names none."""
    judges = [
        judge
        for member in machines(config)
        if (judge := pointwise_judge(member, session.judges.models))
    ]
    if not judges:
        return None

    def make(folder: Path, inputs: Inputs) -> Made:
        abstained = Counter[str]()

        def rows() -> Iterator[dict[str, Any]]:
            for judge in judges:
                for completion_id, found in _scored(session, judge, completions.entry.kept, inputs):
                    abstained[judge.source] += found.value is None
                    yield score_row(completion_id, judge.source, found)

        count = write_rows(folder / "scores.parquet", rows(), SCORES)
        dropped = {"abstained": abstained.total()} if abstained.total() else {}
        kept, facts = count - abstained.total(), session.judges.started()
        return Made(count, kept, dropped, facts, dict(session.judges.versions))

    return session.step(
        number,
        step,
        make,
        config=judge_config(config, "score"),
        inputs={
            "completions": completions.input("completions.parquet"),
            "prompts": prompts.input("prompts.parquet"),
            **judges_models(session, config, "score"),
        },
        functions=judges_functions(config, "score"),
    )


def _scored(
    session: Session, judge: PointwiseJudge, total: int, inputs: Inputs
) -> Iterator[tuple[str, Score]]:
    read = read_completions(inputs.path("completions"), inputs.path("prompts"))
    scored = score_all(judge, read)
    for done, (completion, found) in enumerate(scored, 1):
        if done % 1024 == 0:
            session.progress.advance(done, total, "completions")
        yield completion.completion_id, found
