"""Step `answer_logps`: log-probs of a policy's answers under other policies, for the KL to them. A
step of its own, so that a change of the evaluation needs no model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.step_facts import ProcessFacts
from dpo_core.processor import has_gpu
from dpo_core.schemas import POLICY_LOGPS, SCORED, ScoredRow
from dpo_core.tables import count_rows, iterate_rows, read_rows, write_rows
from dpo_core.training.jobs import LogpsJob
from flows.compute.processes import check_weights, keeps_processes
from flows.evaluation.held_out import Opponents
from flows.read_records import read_prompts
from flows.round_state import EvaluatedPolicy
from flows.session import Session
from generation.jobs import ScoreJob


def answer_logps(
    session: Session, number: int, candidate: EvaluatedPolicy, others: Opponents, held_out: Artifact
) -> Artifact | None:
    """Log-probs of the candidate's answers to test prompts under each other policy.

    None when sampling tempers or truncates the distribution: the mean log-ratio of such answers is
    not a KL divergence.
    """
    sampling = session.config.sampling
    if not sampling.is_raw:
        return None
    names = {policy.id: f"{name}_policy" for name, policy in others.policies.items()}

    def make(folder: Path, inputs: Inputs) -> StepResult:
        asked = folder / "asked.parquet"
        write_rows(asked, _to_test_prompts(inputs.path("answers"), inputs.path("held_out")), SCORED)
        seconds = 0.0
        files = {}
        for identity, name in names.items():
            files[identity] = folder / f"{identity[:16]}.parquet"
            seconds += write_logps(session, inputs.path(name), asked, files[identity])
        rows = (
            {"policy": identity, **row} for identity, f in files.items() for row in iterate_rows(f)
        )
        count = write_rows(folder / "logps.parquet", rows, POLICY_LOGPS)
        for file in (asked, *files.values()):
            file.unlink()
        return StepResult(count, count, facts=ProcessFacts(seconds_start=seconds))

    return session.step(
        number,
        "answer_logps",
        make,
        config={"sampling": sampling.model_dump(include={"temperature", "top_p"})},
        inputs={
            "answers": candidate.answers.input("completions.parquet"),
            "held_out": held_out.input("prompts.parquet"),
            **others.policy_inputs,
        },
    )


def _to_test_prompts(answers: Path, held_out: Path) -> Iterator[Mapping[str, object]]:
    """Rows of answers to test prompts, with the columns of SCORED among others."""
    prompts = read_prompts(held_out)
    for row in iterate_rows(answers, ["prompt_id", *SCORED.names]):
        if prompts[row["prompt_id"]].split == "test":
            yield row


def find_logps(
    session: Session, weights: Path, rows: Sequence[ScoredRow], folder: Path
) -> tuple[dict[str, float], float]:
    """(completion_id → log-prob in nats under `weights`, seconds to load the weights).

    Cheapest where many rows share a prompt. folder: for temporary files.
    """
    asked, scored = folder / "asked.parquet", folder / "logps.parquet"
    write_rows(asked, rows, SCORED)
    seconds = write_logps(session, weights, asked, scored)
    logps = {row["completion_id"]: row["logp"] for row in read_rows(scored)}
    asked.unlink()
    scored.unlink()
    return logps, seconds


def write_logps(session: Session, weights: Path, answers: Path, out: Path) -> float:
    """Write log-probs (schema LOGPS) of answers (schema SCORED); returns the seconds to load.

    The training process computes a shared prompt once, so it is used where prompts have two or more
    answers on average. The sampling process is used otherwise, where the architecture allows no
    sharing, and where processes take turns on the device: a restart costs more than sharing saves.
    """
    shared = _by_sharing(session, weights, answers, out)
    if shared is not None:
        return shared
    job = ScoreJob(policy=weights, config=session.config.sampling, source=answers, out=out)
    return session.sample(job).seconds_start


def _by_sharing(session: Session, weights: Path, answers: Path, out: Path) -> float | None:
    """As `write_logps`, by the training process; None where nothing was written."""
    dtype = session.config.sampling.dtype_on("cpu")
    if (
        not keeps_processes(session.config.sampling.keep_worker, on_gpu=has_gpu())
        or dtype == "float16"
        or not _are_shared(answers)
    ):
        return None
    check_weights(weights)
    job = LogpsJob(
        policy_dir=weights,
        completions=answers,
        out=out,
        dtype=dtype,
        threads=session.threads,
        keep_worker=session.config.sampling.keep_worker,
    )
    result = session.train(job)
    return None if result.why_not else result.seconds_start + result.seconds_load


def _are_shared(answers: Path) -> bool:
    """Whether prompts have two answers or more on average."""
    rows = iterate_rows(answers, ["prompt_token_ids"])
    prompts = {hash(tuple(row["prompt_token_ids"])) for row in rows}
    return count_rows(answers) >= 2 * len(prompts)
