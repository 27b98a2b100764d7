"""Steps `scores` and `judgements`: pointwise judges score completions, and all judges compare
pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.evaluation.relevance import verdicts
from dpo_core.records import Completion, JudgementRow, Score, ScoreRow, judgement_row, score_row
from dpo_core.schemas import JUDGEMENTS, SCORES
from dpo_core.tables import write_rows
from flows.evaluation.judging import judge_model_inputs, judge_pairs
from flows.evaluation.relevance import read_placements
from flows.read_records import build_pairs, read_completions, read_full_scores
from flows.round_state import DrawnAnswers, Policy, parquet_inputs
from flows.session import Session
from flows.steps.answer_relevance import draw_requests, place_answers
from labeling.judges.behaviour import Behaviour, measure_behaviour
from labeling.judges.config import AnyJudgeConfig, asks_relevance, machines
from labeling.judges.make import judge_config, judges_functions, pointwise_judge
from labeling.judges.protocol import PointwiseJudge, score_all
from labeling.step_facts import JudgementsFacts, ScoresFacts

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
    """Scores of all completions by each pointwise judge of `config`; None if it has none.

    base: for a judge that checks relevance, the policy whose log-probs measure it.
    """
    asks_base = asks_relevance(config)
    assert base is not None or not asks_base, "the config rejects it for other judges"
    judges = [
        (member, judge)
        for member in machines(config)
        if (judge := pointwise_judge(member, session.judges.models))
    ]
    if not judges:
        return None

    def make(folder: Path, inputs: Inputs) -> StepResult:
        abstained, seconds, relevance = 0, 0.0, dict[str, dict[str, int]]()

        def rows() -> Iterator[ScoreRow]:
            nonlocal abstained, seconds
            for member, judge in judges:
                scored: Iterable[Scored] = _score(session, judge, completions.entry.kept, inputs)
                if (requests := getattr(member, "relevance", None)) is not None:
                    scored, relevance[judge.source], loading = zero_irrelevant(
                        session, folder, inputs, list(scored), requests
                    )
                    seconds += loading
                for completion, given in scored:
                    abstained += given.value is None
                    yield score_row(completion.completion_id, judge.source, given)

        count = write_rows(folder / "scores.parquet", rows(), SCORES)
        dropped = {"abstained": abstained} if abstained else {}
        facts = ScoresFacts.read(session.judges.take_seconds())
        if relevance:
            seconds += facts.seconds_start
            facts = ScoresFacts(relevance=relevance, seconds_start=seconds)
        return StepResult(count, count - abstained, dropped, facts, dict(session.judges.versions))

    return session.step(
        number,
        step,
        make,
        config={
            **judge_config(config, "score"),
            **({"seed": session.seed(SEED)} if asks_base else {}),
        },
        inputs={
            **parquet_inputs(completions=completions, prompts=prompts),
            **judge_model_inputs(session, config, "score"),
            **({"base_policy": base.input} if base is not None and asks_base else {}),
        },
        functions=judges_functions(config, "score"),
    )


def _score(session: Session, judge: PointwiseJudge, total: int, inputs: Inputs) -> Iterator[Scored]:
    completions = read_completions(inputs.path("completions"), inputs.path("prompts"))
    for done, scored in enumerate(score_all(judge, completions), 1):
        if done % 1024 == 0:
            session.progress.advance(done, total, "completions")
        yield scored


SEED = "relevance of scored answers"
"""Not that of held-out answers, so that training and evaluation use different requests."""

_WHY = {"another request": "the base places it at another request", "echo": "mostly an echo"}


def zero_irrelevant(
    session: Session, folder: Path, inputs: Inputs, scored: Sequence[Scored], requests: int
) -> tuple[list[Scored], dict[str, int], float]:
    """(scores, counts of answers by verdict, seconds to load the base): positive scores become 0
    where the answer is not relevant among `requests` prompts.

    Only answers with a positive score are checked. One whose prompt is the only one keeps it.
    """
    prompts = sorted({c.prompt.prompt_id for c, _ in scored if not c.is_empty})
    checked = [c for c, s in scored if (s.value or 0) > 0]
    seed = session.seed(SEED)
    wanted = {c.completion_id: draw_requests(c, prompts, requests, seed) for c in checked}
    answers = inputs.path("completions")
    logps, seconds = place_answers(session, folder, inputs.path("base_policy"), answers, wanted)
    placed = read_placements(answers, logps)
    by_answer = dict(zip(placed, verdicts(list(placed.values())), strict=True))
    counts = {name.replace(" ", "_"): n for name, n in sorted(Counter(by_answer.values()).items())}
    rescored = [(c, _apply(s, by_answer.get(c.completion_id))) for c, s in scored]
    return rescored, {"answers": len(checked), **counts}, seconds


def _apply(score: Score, verdict: str | None) -> Score:
    if verdict is None:  # not checked
        return score
    relevant = verdict in ("relevant", "alone")
    measured = replace(
        score, measures={**score.measures, "relevant_of_asked": (float(relevant), 1.0)}
    )
    if relevant:
        return measured
    why = f"not relevant: {_WHY.get(verdict, verdict)}"
    return replace(measured, value=0.0, reason=f"{score.reason}; {why}" if score.reason else why)


def judge(session: Session, number: int, pairs: Artifact, drawn: DrawnAnswers) -> Artifact:
    """One judgement per pair and judge: by a pointwise judge's scores, or by reading the pair."""
    config = session.config.judge

    def make(folder: Path, inputs: Inputs) -> StepResult:
        counts: Counter[str] = Counter()
        answers = read_completions(inputs.path("completions"), inputs.path("prompts"))
        by_id = {c.completion_id: c for c in answers}
        compared = build_pairs(inputs.path("pairs"), by_id)
        scored = read_full_scores(inputs.find("scores"))
        judges: dict[str, Behaviour] = {}

        def rows() -> Iterator[JudgementRow]:
            for source, judgements in judge_pairs(session, config, compared, scored):
                judged = list(zip(compared, judgements, strict=True))
                own = [(by_id[identity], s) for identity, s in scored.get(source, {}).items()]
                judges[source] = measure_behaviour(judged, own)
                for pair, judgement in judged:
                    counts[judgement.verdict or "abstained"] += 1
                    yield judgement_row(pair.pair_id, source, judgement)

        count = write_rows(folder / "judgements.parquet", rows(), JUDGEMENTS)
        abstained = counts["abstained"]
        dropped = {"abstained": abstained} if abstained else {}
        seconds = session.judges.take_seconds()
        facts = JudgementsFacts(verdicts=dict(counts), judges=judges, **seconds)
        versions = dict(session.judges.versions)
        return StepResult(count, count - abstained, dropped, facts=facts, versions=versions)

    inputs = parquet_inputs(pairs=pairs) | drawn.inputs() | judge_model_inputs(session, config)
    recipe, functions = judge_config(config), judges_functions(config)
    return session.step(
        number, "judgements", make, config=recipe, inputs=inputs, functions=functions
    )
