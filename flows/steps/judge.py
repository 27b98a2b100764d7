"""Step `judgements`: what each judge that needs no person says about every pair."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import JUDGEMENTS, judgement_row
from dpo_core.tables import write_rows
from flows.evaluation.judge_answers import judged, judges_models
from flows.read_back import pairs_of, read_completions, read_full_scores
from flows.session import Session
from labeling.judges.behaviour import behaviour
from labeling.judges.make import judge_config, judges_functions


def judge(
    session: Session,
    number: int,
    pairs: Artifact,
    completions: Artifact,
    prompts: Artifact,
    scores: Artifact | None,
) -> Artifact:
    """One judgement per pair and judge: from the scores of a pointwise one, or read as a pair."""
    config = session.config.judge

    def make(folder: Path, inputs: Inputs) -> Made:
        verdicts: Counter[str] = Counter()
        answers = read_completions(inputs.path("completions"), inputs.path("prompts"))
        by_id = {c.completion_id: c for c in answers}
        read = pairs_of(inputs.path("pairs"), by_id)
        scored = read_full_scores(inputs.find("scores"))
        judges: dict[str, Any] = {}

        def rows() -> Iterator[dict[str, Any]]:
            for source, judgements in judged(session, config, read, scored):
                found = list(judgements)
                own = [(by_id[identity], s) for identity, s in scored.get(source, {}).items()]
                judges[source] = asdict(behaviour(list(zip(read, found, strict=True)), own))
                for pair, judgement in zip(read, found, strict=True):
                    verdicts[judgement.verdict or "abstained"] += 1
                    yield judgement_row(pair.pair_id, source, judgement)

        count = write_rows(folder / "judgements.parquet", rows(), JUDGEMENTS)
        abstained = verdicts["abstained"]
        dropped = {"abstained": abstained} if abstained else {}
        facts = {"verdicts": dict(verdicts), "judges": judges, **session.judges.started()}
        versions = dict(session.judges.versions)
        return Made(count, count - abstained, dropped, facts=facts, versions=versions)

    inputs = {
        "pairs": pairs.input("pairs.parquet"),
        "completions": completions.input("completions.parquet"),
        "prompts": prompts.input("prompts.parquet"),
        **judges_models(session, config),
    }
    if scores is not None:
        inputs["scores"] = scores.input("scores.parquet")
    return session.step(
        number,
        "judgements",
        make,
        config=judge_config(config),
        inputs=inputs,
        functions=judges_functions(config),
    )
