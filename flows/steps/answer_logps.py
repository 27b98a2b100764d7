"""Step `answer_logps`: what other policies make of a policy's held-out answers, for the distance
from them. A step of its own, so that a change of what is evaluated needs no model."""

from pathlib import Path

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import POLICY_LOGPS
from dpo_core.tables import iterate_rows, write_rows
from flows.evaluation.held_out import Others
from flows.policy import Answered
from flows.session import Session


def answer_logps(
    session: Session, number: int, candidate: Answered, others: Others
) -> Artifact | None:
    """Log-probs of the candidate's held-out answers under each other policy, each asked once.

    None when answers are tempered or cut: they are no samples of the policy itself, so their mean
    log-ratio would be no KL.
    """
    sampling = session.config.sampling
    if not sampling.is_raw:
        return None
    names = {policy.id: f"{name}_policy" for name, policy in others.policies.items()}

    def make(folder: Path, inputs: Inputs) -> Made:
        seconds = 0.0
        files = {}
        for identity, name in names.items():
            files[identity] = folder / f"{identity[:16]}.parquet"
            weights, answers = inputs.path(name), inputs.path("answers")
            seconds += write_logps(session, weights, answers, files[identity])
        rows = (
            {"policy": identity, **row} for identity, f in files.items() for row in iterate_rows(f)
        )
        count = write_rows(folder / "logps.parquet", rows, POLICY_LOGPS)
        for file in files.values():
            file.unlink()
        return Made(count, count, facts={"seconds_start": seconds})

    return session.step(
        number,
        "answer_logps",
        make,
        config={"sampling": sampling.model_dump(include={"temperature", "top_p"})},
        inputs={
            "answers": candidate.answers.input("completions.parquet"),
            **{f"{name}_policy": policy.input for name, policy in others.policies.items()},
        },
    )


def write_logps(session: Session, weights: Path, answers: Path, out: Path) -> float:
    """Write the log-probs of answers under other weights; the seconds until these were loaded."""
    result = session.sample(
        {
            "op": "logps",
            "policy": str(weights),
            "completions": str(answers),
            "out": str(out),
        }
    )
    return float(result["seconds_start"])
