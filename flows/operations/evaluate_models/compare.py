"""Compare two models: both answer the same prompts with the same seeds, and a judge compares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.errors import PromptError
from dpo_core.find_model import Model, share_vocabulary
from dpo_core.gguf.header import names_gguf
from dpo_core.records import prompt_row
from dpo_core.schemas import PROMPTS, OutcomeRow
from dpo_core.tables import iterate_rows, read_rows, write_rows
from dpo_core.training.jobs import BaseJob
from flows.evaluation.held_out import Answers, HeldOutAnswers, read_answers
from flows.evaluation.judging import Match, measure_judges, play_match
from flows.operations.evaluate_models.request import EvaluationRequest
from flows.round_state import Policy
from flows.session import Session
from flows.steps.answer_logps import write_logps
from flows.steps.sample import Samples, answer_file
from flows.steps.score import score
from labeling.judges.behaviour import Behaviour
from reporting.progress import CampaignProgress


@dataclass(frozen=True)
class ModelComparison:
    """logratios: completion_id → log π_A/π_B of A's answers in nats, or why there are none.
    answers: the completions of A and B. behaviour: source → how the judge judged."""

    match: Match
    logratios: Mapping[str, float] | str
    answers: tuple[Path, Path]
    too_long: int
    behaviour: Mapping[str, Behaviour]

    @property
    def sides(self) -> tuple[HeldOutAnswers, HeldOutAnswers]:
        return self.match.ours, self.match.theirs


def compare(
    request: EvaluationRequest, folder: Path, progress: CampaignProgress
) -> ModelComparison:
    """Compare, working in `folder`. Raises PromptError if all prompts are too long for a model."""
    with Session.open(folder, request.config, progress) as session:
        prompts = _write_prompts(session, request)
        seed = session.seed("answers")  # as in a campaign's evaluation
        samples = Samples(request.config.evaluation.samples_per_prompt, seed)
        answers = []
        for number, model in enumerate(request.models, 1):
            session.processes.release()  # the models may differ in architecture
            policy = Policy(number, model.id, model.folder, prompts)
            answers.append(answer_file(session, number, "answers", policy, prompts, samples))
            _check_answered(answers[-1], model, request)
        logratios = _logratios(session, request, answers[0])
        session.processes.release()
        ours, theirs = (_score(session, prompts, each) for each in answers)
        match = play_match(session, request.config.held_out_judge, ours, theirs)
        behaviour = measure_judges([match])
    files = [each.path("completions.parquet") for each in answers]
    too_long = sum(each.entry.dropped.get("prompt_too_long", 0) for each in answers)
    return ModelComparison(match, logratios, (files[0], files[1]), too_long, behaviour)


def unpack_gguf(
    request: EvaluationRequest, folder: Path, progress: CampaignProgress
) -> EvaluationRequest:
    """The request with GGUF models unpacked into folders, which engines can read."""
    if not any(names_gguf(model.folder) for model in request.models):
        return request
    with Session.open(folder, request.config, progress) as session:
        first, second = (_as_folder(session, *each) for each in enumerate(request.models, 1))
    return replace(request, models=(first, second))


def _as_folder(session: Session, number: int, model: Model) -> Model:
    if not names_gguf(model.folder):
        return model
    folder = session.layout.root / f"model-{number}"
    folder.mkdir()
    job = BaseJob(
        model=str(model.folder),
        out_dir=folder / "policy",
        curve_path=folder / "none.parquet",
        threads=session.threads,
        keep_worker=session.config.sampling.keep_worker,
    )
    unpacked = session.train(job)
    return Model(model.name, folder / "policy", unpacked.policy)


def _write_prompts(session: Session, request: EvaluationRequest) -> Artifact:
    def make(folder: Path, _: Inputs) -> StepResult:
        kept = write_rows(folder / "prompts.parquet", map(prompt_row, request.prompts), PROMPTS)
        return StepResult(kept, kept)

    return session.step(0, "prompts", make, config={})


def _check_answered(answers: Artifact, model: Model, request: EvaluationRequest) -> None:
    if not answers.entry.kept:
        raise PromptError(
            f"no prompt leaves room for sampling.max_tokens {request.config.sampling.max_tokens} "
            f"in the context of {model.name}",
            "Lower --max-tokens.",
        )


def _score(session: Session, prompts: Artifact, answers: Artifact) -> HeldOutAnswers:
    number, judge = answers.entry.round, session.config.judge
    scores = score(session, number, answers, prompts, judge, "answer_scores")
    inputs = Answers(number, answers, scores).inputs("its")
    inputs["held_out"] = prompts.input("prompts.parquet")
    return read_answers(Inputs("match", inputs), "its", number, same_judge=True)


def _logratios(
    session: Session, request: EvaluationRequest, answers: Artifact
) -> Mapping[str, float] | str:
    """completion_id → log π_A − log π_B of A's answers in nats, or why there are none."""
    first, second = request.models
    if not session.config.sampling.is_raw:
        return "answers are not sampled from the raw model: temperature and top_p must both be 1"
    if not share_vocabulary(first, second):
        return "the models have different tokenizers"
    out = session.layout.root / "logps.parquet"
    write_logps(session, second.folder, answers.path("completions.parquet"), out)
    theirs = {row["completion_id"]: row["logp"] for row in read_rows(out)}
    path = answers.path("completions.parquet")
    rows = iterate_rows(path, ["completion_id", "token_logps"])
    return {
        r["completion_id"]: math.fsum(r["token_logps"]) - theirs[r["completion_id"]] for r in rows
    }


def outcome_rows(
    request: EvaluationRequest, compared: ModelComparison, unit: str
) -> Sequence[OutcomeRow]:
    """One row per pair of answers, with the length difference in `unit`: tokens or characters."""
    rows = list(compared.match.rows(request.models[1].name))
    if unit == "characters":
        for row, pair in zip(rows, compared.match.pairs, strict=True):
            row["length_difference"] = len(pair.a.text) - len(pair.b.text)
    return rows
