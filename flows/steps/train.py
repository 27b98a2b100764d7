"""Step `training`: one DPO round in its own process; the reference is the policy that sampled."""

from pathlib import Path

from dpo_core.campaign.store import Artifact, Made
from flows.policy import Policy
from flows.session import Session

_MOVES_NO_NUMBER = {"micro_batch_tokens"}


def train(
    session: Session, number: int, policy: Policy, preferences: Artifact, completions: Artifact
) -> Policy:
    """π_{t+1}, trained from `policy` on the round's preferences."""
    config = session.config.training
    seed = session.seed("training", number)

    def make(folder: Path) -> Made:
        job = {
            "policy_dir": str(policy.folder),
            "preferences": str(preferences.path("preferences.parquet")),
            "completions": str(completions.path("completions.parquet")),
            "out_dir": str(folder / "policy"),
            "curve_path": str(folder / "training.parquet"),
            "reference_logps_path": str(folder / "reference_logps.parquet"),
            "config": config.model_dump(mode="json"),
            "seed": seed,
            "threads": session.config.threads,
        }
        result = session.train({"op": "dpo", "job": job})
        pairs = result["pairs"]
        return Made(pairs, pairs, versions=result.pop("versions", {}), facts=result)

    artifact = session.step(
        number,
        "training",
        make,
        config={**config.model_dump(mode="json", exclude=_MOVES_NO_NUMBER), "seed": seed},
        inputs={
            "policy": policy.id,
            "preferences": preferences.hash("preferences.parquet"),
            "completions": completions.hash("completions.parquet"),
        },
    )
    return Policy(number, artifact.entry.facts["policy"], artifact.path("policy"), artifact)
