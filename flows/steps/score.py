"""Step `scores`: a pointwise judge scores every completion."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import SCORES, Score
from dpo_core.tables import write_rows
from flows.session import Session
from flows.steps.completions import read_completions
from labeling.judges import judge_functions, pointwise_judge, score_all


def score(
    session: Session, number: int, completions: Artifact, prompts: Artifact, step: str = "scores"
) -> Artifact | None:
    """Scores of all completions, or None when the configured judge reads pairs."""
    judge = pointwise_judge(session.config.judge)
    if judge is None:
        return None

    def make(folder: Path) -> Made:
        reasons: Counter[str] = Counter()
        total = completions.entry.kept

        def rows() -> Iterator[dict[str, Any]]:
            scored = score_all(judge, read_completions(completions, prompts))
            for done, (completion, found) in enumerate(scored, 1):
                reasons["abstained"] += found.value is None
                if done % 1024 == 0:
                    session.progress.advance(done, total, "completions")
                yield _row(completion.completion_id, judge.source, found)

        count = write_rows(folder / "scores.parquet", rows(), SCORES)
        abstained = reasons["abstained"]
        return Made(count, count - abstained, {"abstained": abstained} if abstained else {})

    return session.step(
        number,
        step,
        make,
        config=session.config.judge.model_dump(mode="json"),
        inputs={
            "completions": completions.hash("completions.parquet"),
            "prompts": prompts.hash("prompts.parquet"),
        },
        functions=judge_functions(session.config.judge),
    )


def _row(completion_id: str, source: str, score: Score) -> dict[str, Any]:
    measures = [
        {"name": name, "numerator": float(numerator), "denominator": float(denominator)}
        for name, (numerator, denominator) in sorted(score.measures.items())
    ]
    return {
        "completion_id": completion_id,
        "source": source,
        "score": score.value,
        "reason": score.reason,
        "measures": measures,
    }
