"""Both models answer the same prompts with the same seeds; a judge compares answer with answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.errors import PromptError
from dpo_core.find_model import Model, share_vocabulary
from dpo_core.gguf.header import names_gguf
from dpo_core.records import prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.evaluation.held_out import Answers, HeldOutAnswers, read_answers
from flows.evaluation.judging import Match, judges_behaviour, play_match
from flows.operations.evaluate_models.asked import EvaluationRequest
from flows.policy import Policy
from flows.progress import CampaignProgress
from flows.session import Session
from flows.steps.answer_logps import write_logps
from flows.steps.sample import Samples, answer_file
from flows.steps.score import score


@dataclass(frozen=True)
class ModelComparison:
    """logratios: log π_A/π_B of A's answers, or why there are none. answers: the two files of
    completions. behaviour: source → how the judge judged."""

    match: Match
    logratios: Mapping[str, float] | str
    answers: tuple[Path, Path]
    too_long: int
    behaviour: Mapping[str, Any]

    @property
    def sides(self) -> tuple[HeldOutAnswers, HeldOutAnswers]:
        return self.match.ours, self.match.theirs


def compare(asked: EvaluationRequest, folder: Path, progress: CampaignProgress) -> ModelComparison:
    """Works in `folder`. Raises PromptError when every prompt is too long for a model."""
    with Session(folder, asked.config, progress) as session:
        prompts = _prompts(session, asked)
        seed = session.seed("answers")  # of a campaign's evaluation: the same in both
        samples = Samples(asked.config.evaluation.samples_per_prompt, seed)
        answers = []
        for number, model in enumerate(asked.models, 1):
            session.release_children()  # the other model may be of another architecture
            policy = Policy(number, model.id, model.folder, prompts)
            answers.append(answer_file(session, number, "answers", policy, prompts, samples))
            _check_answered(answers[-1], model, asked)
        logratios = _logratios(session, asked, answers[0])
        session.release_children()
        ours, theirs = (_scored(session, prompts, each) for each in answers)
        match = play_match(session, asked.config.held_out_judge, ours, theirs)
        behaviour = judges_behaviour([match])
    files = [each.path("completions.parquet") for each in answers]
    too_long = sum(each.entry.dropped.get("prompt_too_long", 0) for each in answers)
    return ModelComparison(match, logratios, (files[0], files[1]), too_long, behaviour)


def with_folders(
    asked: EvaluationRequest, folder: Path, progress: CampaignProgress
) -> EvaluationRequest:
    """The same with GGUF files as folders, below `folder`: what engines read."""
    if not any(names_gguf(model.folder) for model in asked.models):
        return asked
    with Session(folder, asked.config, progress) as session:
        first, second = (_as_folder(session, *each) for each in enumerate(asked.models, 1))
    return replace(asked, models=(first, second))


def _as_folder(session: Session, number: int, model: Model) -> Model:
    if not names_gguf(model.folder):
        return model
    place = session.layout.root / f"model-{number}"
    place.mkdir()
    job = {
        "model": str(model.folder),
        "out_dir": str(place / "policy"),
        "curve_path": str(place / "none.parquet"),
        "threads": session.config.threads,
    }
    made = session.train({"op": "base", "job": job})
    return Model(model.name, place / "policy", made["policy"])


def _prompts(session: Session, asked: EvaluationRequest) -> Artifact:
    def make(folder: Path, _: Inputs) -> StepResult:
        kept = write_rows(folder / "prompts.parquet", map(prompt_row, asked.prompts), PROMPTS)
        return StepResult(kept, kept)

    return session.step(0, "prompts", make, config={})


def _check_answered(answers: Artifact, model: Model, asked: EvaluationRequest) -> None:
    if not answers.entry.kept:
        raise PromptError(
            f"no prompt leaves room for sampling.max_tokens {asked.config.sampling.max_tokens} in "
            f"what {model.name} can read",
            "Lower --max-tokens.",
        )


def _scored(session: Session, prompts: Artifact, answers: Artifact) -> HeldOutAnswers:
    number, judge = answers.entry.round, session.config.judge
    scores = score(session, number, answers, prompts, judge, "answer_scores")
    inputs = Answers(number, answers, scores).inputs("its")
    inputs["held_out"] = prompts.input("prompts.parquet")
    return read_answers(Inputs("match", inputs), "its", number, same_judge=True)


def _logratios(
    session: Session, asked: EvaluationRequest, answers: Artifact
) -> Mapping[str, float] | str:
    """completion_id → log π_A − log π_B in nats, of A's answers; the second model is loaded."""
    first, second = asked.models
    if not session.config.sampling.is_raw:
        return "answers are not drawn from the model itself: temperature and top_p are not both 1"
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


def outcome_rows(compared: ModelComparison, unit: str) -> Sequence[dict[str, Any]]:
    """One row per pair of answers; the length difference in `unit`, tokens or characters."""
    rows = list(compared.match.rows())
    if unit == "characters":
        for row, pair in zip(rows, compared.match.pairs, strict=True):
            row["length_difference"] = len(pair.a.text) - len(pair.b.text)
    return rows
