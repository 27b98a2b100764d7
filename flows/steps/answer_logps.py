"""Step `answer_logps`: what other policies make of a policy's answers to test prompts, for the
distance from them. A step of its own, so that a change of what is evaluated needs no model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.schemas import POLICY_LOGPS, SCORED
from dpo_core.tables import count_rows, iterate_rows, read_rows, write_rows
from flows.compute.processes import check_weights, keeps_processes
from flows.evaluation.held_out import Opponents
from flows.round_state import EvaluatedPolicy
from flows.read_records import read_prompts
from flows.session import Session


def answer_logps(
    session: Session, number: int, candidate: EvaluatedPolicy, others: Opponents, held_out: Artifact
) -> Artifact | None:
    """Log-probs of the candidate's answers to test prompts under each other policy, each asked
    once: no distance is measured on the gate's.

    None when answers are tempered or cut: they are no samples of the policy itself, so their mean
    log-ratio would be no KL.
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
        return StepResult(count, count, facts={"seconds_start": seconds})

    return session.step(
        number,
        "answer_logps",
        make,
        config={"sampling": sampling.model_dump(include={"temperature", "top_p"})},
        inputs={
            "answers": candidate.answers.input("completions.parquet"),
            "held_out": held_out.input("prompts.parquet"),
            **{f"{name}_policy": policy.input for name, policy in others.policies.items()},
        },
    )


def _to_test_prompts(answers: Path, held_out: Path) -> Iterator[dict[str, Any]]:
    """The answers to them, with the columns of SCORED among others."""
    prompts = read_prompts(held_out)
    for row in iterate_rows(answers, ["prompt_id", *SCORED.names]):
        if prompts[row["prompt_id"]].split == "test":
            yield row


def find_logps(
    session: Session, weights: Path, rows: Sequence[Mapping[str, Any]], folder: Path
) -> tuple[dict[str, float], float]:
    """completion_id → log-prob in nats under `weights`, of rows with the columns of SCORED; and the
    seconds until the weights were loaded. Cheapest where many rows share a prompt.

    Files in `folder` are gone afterwards.
    """
    asked, found = folder / "asked.parquet", folder / "logps.parquet"
    write_rows(asked, rows, SCORED)
    seconds = write_logps(session, weights, asked, found)
    logps = {row["completion_id"]: row["logp"] for row in read_rows(found)}
    asked.unlink()
    found.unlink()
    return logps, seconds


def write_logps(session: Session, weights: Path, answers: Path, out: Path) -> float:
    """Write the log-probs of answers (schema SCORED) under other weights (schema LOGPS); the
    seconds until these were loaded.

    By the training process, for which answers share their prompt, where prompts have two or more
    on average. By the sampling process else, which is as fast then; where the model's architecture
    allows no sharing; and where processes make room for each other, as to start an engine anew
    takes longer than sharing saves.
    """
    shared = _by_sharing(session, weights, answers, out)
    if shared is not None:
        return shared
    result = session.sample(
        {
            "op": "logps",
            "policy": str(weights),
            "completions": str(answers),
            "out": str(out),
        }
    )
    return float(result["seconds_start"])


def _by_sharing(session: Session, weights: Path, answers: Path, out: Path) -> float | None:
    """As `write_logps`; None where nothing was written."""
    dtype = session.config.sampling.dtype_on("cpu")
    if (
        not keeps_processes(session.config.sampling)
        or dtype == "float16"
        or not _are_shared(answers)
    ):
        return None
    check_weights(weights)
    job = {
        "policy_dir": str(weights),
        "completions": str(answers),
        "out": str(out),
        "dtype": dtype,
        "threads": session.config.threads,
    }
    result = session.train({"op": "logps", "job": job})
    return None if result["why_not"] else float(result["seconds_start"] + result["seconds_load"])


def _are_shared(answers: Path) -> bool:
    """Whether prompts have two answers or more on average."""
    rows = iterate_rows(answers, ["prompt_token_ids"])
    prompts = {hash(tuple(row["prompt_token_ids"])) for row in rows}
    return count_rows(answers) >= 2 * len(prompts)
