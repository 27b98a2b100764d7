"""Step `judgements`: the verdict on every pair."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import JUDGEMENTS, Completion, Judgement, Pair, Score
from dpo_core.tables import read_rows, write_rows
from flows.session import Session
from flows.steps.completions import read_completions, read_scores
from labeling.judges import (
    judge_both_orders,
    judge_functions,
    pairwise_judge,
    pointwise_judge,
    verdict_from_scores,
)


def judge(
    session: Session,
    number: int,
    pairs: Artifact,
    completions: Artifact,
    prompts: Artifact,
    scores: Artifact | None,
) -> Artifact:
    """One judgement per pair: from the scores of a pointwise judge, or by a pairwise judge."""

    def make(folder: Path) -> Made:
        verdicts: Counter[str] = Counter()

        def rows() -> Iterator[dict[str, Any]]:
            by_id = {c.completion_id: c for c in read_completions(completions, prompts)}
            stored = read_rows(pairs.path("pairs.parquet"))
            read = [Pair(row["pair_id"], by_id[row["a"]], by_id[row["b"]]) for row in stored]
            source, judgements = judged(session, read, read_scores(scores))
            for pair, judgement in zip(read, judgements, strict=True):
                verdicts[judgement.verdict or "abstained"] += 1
                yield _row(pair.pair_id, source, judgement)

        count = write_rows(folder / "judgements.parquet", rows(), JUDGEMENTS)
        abstained = verdicts["abstained"]
        dropped = {"abstained": abstained} if abstained else {}
        return Made(count, count - abstained, dropped, facts={"verdicts": dict(verdicts)})

    inputs = {"pairs": pairs.hash("pairs.parquet")}
    inputs["completions"] = completions.hash("completions.parquet")
    if scores is not None:
        inputs["scores"] = scores.hash("scores.parquet")
    return session.step(
        number,
        "judgements",
        make,
        config=session.config.judge.model_dump(mode="json"),
        inputs=inputs,
        functions=judge_functions(session.config.judge),
    )


def judged(
    session: Session, pairs: Sequence[Pair], scores: dict[str, float | None]
) -> tuple[str, Iterator[Judgement]]:
    """(source, one judgement per pair) by the configured judge, whichever kind it is."""
    pairwise = pairwise_judge(session.config.judge)
    if pairwise is not None:
        return pairwise.source, judge_both_orders(pairwise, pairs)
    pointwise = pointwise_judge(session.config.judge)
    assert pointwise is not None

    def score_of(completion: Completion) -> Score:
        value = scores[completion.completion_id]
        return Score(value, "" if value is not None else "the judge abstained")

    return pointwise.source, (verdict_from_scores(score_of(p.a), score_of(p.b)) for p in pairs)


def _row(pair_id: str, source: str, judgement: Judgement) -> dict[str, Any]:
    return {
        "pair_id": pair_id,
        "source": source,
        "verdict": judgement.verdict,
        "confidence": judgement.confidence,
        "reason": judgement.reason,
        "raw": judgement.raw,
        "at": None,  # when a person answered; a judge that can be asked again needs no time
    }
