"""Step `scores`: the pointwise judges score every completion."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.evaluation.relevance import verdicts
from dpo_core.records import Completion, Score, judgement_row, score_row
from dpo_core.schemas import JUDGEMENTS, SCORES
from dpo_core.tables import write_rows
from flows.evaluation.judging import judge_pairs, judge_model_inputs
from flows.evaluation.relevance import read_placements
from flows.round_state import Policy
from flows.read_records import build_pairs, read_completions, read_full_scores
from flows.session import Session
from flows.steps.answer_relevance import draw_requests, place_answers
from labeling.judges.behaviour import behaviour
from labeling.judges.config import AnyJudgeConfig, asks_relevance, machines
from labeling.judges.make import judge_config, judges_functions, pointwise_judge
from labeling.judges.protocol import PointwiseJudge, score_all

Scored = tuple[Completion, Score]


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

    def make(folder: Path, inputs: Inputs) -> StepResult:
        abstained, told = Counter[str](), dict[str, Any]()
        seconds = dict[str, float]()

        def rows() -> Iterator[dict[str, Any]]:
            for member, judge in judges:
                scored: Iterable[Scored] = _scored(session, judge, completions.entry.kept, inputs)
                if (requests := getattr(member, "relevance", None)) is not None:
                    scored, told[judge.source], seconds[judge.source] = zero_irrelevant(
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
        return StepResult(count, kept, dropped, facts, dict(session.judges.versions))

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
            **judge_model_inputs(session, config, "score"),
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


SEED = "relevance of scored answers"
"""Others are drawn than for held-out answers: what evaluates was not trained by."""

_WHY = {"another request": "the base places it at another request", "echo": "mostly an echo"}


def zero_irrelevant(
    session: Session, folder: Path, inputs: Inputs, scored: Sequence[Scored], requests: int
) -> tuple[list[Scored], dict[str, int], float]:
    """The scores, with 0 for a score above it of an answer that is not relevant among `requests`
    prompts; how many answers were asked about, by what became of them; and the seconds until the
    base was loaded.

    An answer without a score above 0 is not asked about. One whose prompt is alone keeps its score.
    """
    prompts = sorted({c.prompt.prompt_id for c, _ in scored if not c.is_empty})
    asked = [(c, s) for c, s in scored if (s.value or 0) > 0]
    seed = session.seed(SEED)
    wanted = {c.completion_id: draw_requests(c, prompts, requests, seed) for c, _ in asked}
    answers = inputs.path("completions")
    logps, seconds = place_answers(session, folder, inputs.path("base_policy"), answers, wanted)
    placed = read_placements(answers, logps)
    found = dict(zip(placed, verdicts(list(placed.values())), strict=True))
    told = Counter(found.values())
    return (
        [(c, _paid(s, found.get(c.completion_id))) for c, s in scored],
        {"answers": len(asked), **{name.replace(" ", "_"): told[name] for name in sorted(told)}},
        seconds,
    )


def _paid(score: Score, verdict: str | None) -> Score:
    if verdict is None:  # nobody was asked
        return score
    relevant = verdict in ("relevant", "alone")
    measured = replace(
        score, measures={**score.measures, "relevant_of_asked": (float(relevant), 1.0)}
    )
    if relevant:
        return measured
    why = f"not relevant: {_WHY.get(verdict, verdict)}"
    return replace(measured, value=0.0, reason=f"{score.reason}; {why}" if score.reason else why)


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

    def make(folder: Path, inputs: Inputs) -> StepResult:
        verdicts: Counter[str] = Counter()
        answers = read_completions(inputs.path("completions"), inputs.path("prompts"))
        by_id = {c.completion_id: c for c in answers}
        read = build_pairs(inputs.path("pairs"), by_id)
        scored = read_full_scores(inputs.find("scores"))
        judges: dict[str, Any] = {}

        def rows() -> Iterator[dict[str, Any]]:
            for source, judgements in judge_pairs(session, config, read, scored):
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
        return StepResult(count, count - abstained, dropped, facts=facts, versions=versions)

    inputs = {
        "pairs": pairs.input("pairs.parquet"),
        "completions": completions.input("completions.parquet"),
        "prompts": prompts.input("prompts.parquet"),
        **judge_model_inputs(session, config),
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
