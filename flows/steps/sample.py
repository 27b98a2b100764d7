"""Step `completions`: the policy answers the round's prompts in the sampling process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import SHARDS
from dpo_core.campaign.store import Artifact, Made
from dpo_core.tables import count_rows
from flows.policy import Policy
from flows.session import Session
from generation.config import SamplingConfig

_STEERS_SPEED_ONLY = {"keep_worker", "gpu_memory_utilization"}


@dataclass(frozen=True)
class Samples:
    """So many completions of each prompt, drawn by this seed."""

    count: int
    seed: int


def sample(session: Session, number: int, policy: Policy, prompts: Artifact) -> Artifact:
    """`sampling.samples_per_prompt` completions of every training prompt."""
    seed = session.seed("completions", number)
    samples = Samples(session.config.sampling.samples_per_prompt, seed)
    return answer_file(session, number, "completions", policy, prompts, samples)


def answer_file(
    session: Session,
    number: int,
    step: str,
    policy: Policy,
    prompts: Artifact,
    samples: Samples,
) -> Artifact:
    """A step that samples completions of every prompt of `prompts`."""

    def make(folder: Path) -> Made:
        return answered(session, policy, prompts.path("prompts.parquet"), folder, samples)

    return session.step(
        number,
        step,
        make,
        config=sampling_config(session.config.sampling, samples),
        inputs={"policy": policy.id, "prompts": prompts.hash("prompts.parquet")},
    )


def answered(
    session: Session, policy: Policy, prompts: Path, folder: Path, samples: Samples
) -> Made:
    """Leave completions of each prompt of a file in the `folder` of a step."""
    result = session.sample(
        {
            "op": "sample",
            "policy": str(policy.folder),
            "policy_id": policy.id,
            "prompts": str(prompts),
            "out": str(folder / "completions.parquet"),
            "shards": str(folder / SHARDS),
            "samples_per_prompt": samples.count,
            "seed": samples.seed,
        }
    )
    asked = count_rows(prompts) * samples.count
    too_long = asked - result["completions"]
    return Made(
        came_in=asked,
        kept=result["completions"],
        dropped={"prompt_too_long": too_long} if too_long else {},
        versions=result.pop("versions"),
        facts=result,
    )


def sampling_config(sampling: SamplingConfig, samples: Samples) -> dict[str, Any]:
    """What completions depend on besides policy and prompts."""
    config = sampling.model_dump(mode="json", exclude={"samples_per_prompt", *_STEERS_SPEED_ONLY})
    return {**config, "samples_per_prompt": samples.count, "seed": samples.seed}
