"""Step `completions`: the policy answers the round's prompts in the sampling process."""

from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import SHARDS
from dpo_core.campaign.store import Artifact, Made
from dpo_core.tables import count_rows
from flows.policy import Policy
from flows.session import Session
from generation.config import SamplingConfig

_STEERS_SPEED_ONLY = {"keep_worker", "gpu_memory_utilization"}


def sample(session: Session, number: int, policy: Policy, prompts: Artifact) -> Artifact:
    """`sampling.samples_per_prompt` completions of every training prompt."""
    count = session.config.sampling.samples_per_prompt
    seed = session.seed("completions", number)
    return answer_file(session, number, "completions", policy, prompts, count, seed)


def answer_file(
    session: Session,
    number: int,
    step: str,
    policy: Policy,
    prompts: Artifact,
    count: int,
    seed: int,
) -> Artifact:
    """A step that samples `count` completions for each prompt of `prompts`."""

    def make(folder: Path) -> Made:
        return answered(session, policy, prompts.path("prompts.parquet"), folder, count, seed)

    return session.step(
        number,
        step,
        make,
        config=sampling_config(session.config.sampling, count, seed),
        inputs={"policy": policy.id, "prompts": prompts.hash("prompts.parquet")},
    )


def answered(
    session: Session, policy: Policy, prompts: Path, folder: Path, count: int, seed: int
) -> Made:
    """Leave `count` completions of each prompt of a file in the `folder` of a step."""
    result = session.sample(
        {
            "op": "sample",
            "policy": str(policy.folder),
            "policy_id": policy.id,
            "prompts": str(prompts),
            "out": str(folder / "completions.parquet"),
            "shards": str(folder / SHARDS),
            "samples_per_prompt": count,
            "seed": seed,
        }
    )
    asked = count_rows(prompts) * count
    too_long = asked - result["completions"]
    return Made(
        came_in=asked,
        kept=result["completions"],
        dropped={"prompt_too_long": too_long} if too_long else {},
        versions=result.pop("versions"),
        facts=result,
    )


def sampling_config(sampling: SamplingConfig, count: int, seed: int) -> dict[str, Any]:
    """What completions depend on besides policy and prompts."""
    config = sampling.model_dump(mode="json", exclude={"samples_per_prompt", *_STEERS_SPEED_ONLY})
    return {**config, "samples_per_prompt": count, "seed": seed}
