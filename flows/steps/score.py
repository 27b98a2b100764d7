"""Step `scores`: the pointwise judges score every completion."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import SCORES, score_row
from dpo_core.tables import write_rows
from flows.evaluation.judge_answers import judges_models
from flows.policy import Policy
from flows.read_back import read_completions
from flows.session import Session
from flows.steps.relevant_scores import SEED, Scored, of_relevant
from labeling.judges.config import AnyJudgeConfig, asks_relevance, machines
from labeling.judges.make import judge_config, judges_functions, pointwise_judge
from labeling.judges.protocol import PointwiseJudge, score_all


def score(
    session: Session,
    number: int,
    completions: Artifact,
    prompts: Artifact,
    config: AnyJudgeConfig,
    step: str = "scores",
    base: Policy | None = None,
) -> Artifact | None:
    """Scores of all completions by each pointwise judge of `config`, or None when it names none.

    base: the policy that places answers, for a judge that asks for their relevance.
    """
    asks_base = asks_relevance(config)
    assert base is not None or not asks_base, "the config refuses it for other judges"
    judges = [
        (member, judge)
        for member in machines(config)
        if (judge := pointwise_judge(member, session.judges.models))
    ]
    if not judges:
        return None

    def make(folder: Path, inputs: Inputs) -> Made:
        abstained, told = Counter[str](), dict[str, Any]()
        seconds = dict[str, float]()

        def rows() -> Iterator[dict[str, Any]]:
            for member, judge in judges:
                scored: Iterable[Scored] = _scored(session, judge, completions.entry.kept, inputs)
                if (requests := getattr(member, "relevance", None)) is not None:
                    scored, told[judge.source], seconds[judge.source] = of_relevant(
                        session, folder, inputs, list(scored), requests
                    )
                for completion, found in scored:
                    abstained[judge.source] += found.value is None
                    yield score_row(completion.completion_id, judge.source, found)

        count = write_rows(folder / "scores.parquet", rows(), SCORES)
        dropped = {"abstained": abstained.total()} if abstained.total() else {}
        kept, facts = count - abstained.total(), dict[str, Any](session.judges.started())
        if told:
            facts["relevance"] = told
            facts["seconds_start"] = facts.get("seconds_start", 0.0) + sum(seconds.values())
        return Made(count, kept, dropped, facts, dict(session.judges.versions))

    return session.step(
        number,
        step,
        make,
        config={
            **judge_config(config, "score"),
            **({"seed": session.seed(SEED)} if asks_base else {}),
        },
        inputs={
            "completions": completions.input("completions.parquet"),
            "prompts": prompts.input("prompts.parquet"),
            **judges_models(session, config, "score"),
            **({"base_policy": base.input} if base is not None and asks_base else {}),
        },
        functions=judges_functions(config, "score"),
    )


def _scored(
    session: Session, judge: PointwiseJudge, total: int, inputs: Inputs
) -> Iterator[Scored]:
    read = read_completions(inputs.path("completions"), inputs.path("prompts"))
    scored = score_all(judge, read)
    for done, (completion, found) in enumerate(scored, 1):
        if done % 1024 == 0:
            session.progress.advance(done, total, "completions")
        yield completion, found
