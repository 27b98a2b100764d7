"""Step `completions`: the policy answers the round's prompts in the sampling process."""

from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import SHARDS
from dpo_core.campaign.store import Artifact, Made
from flows.policy import Policy
from flows.session import Session

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
        result = session.sample(
            {
                "op": "sample",
                "policy": str(policy.folder),
                "policy_id": policy.id,
                "prompts": str(prompts.path("prompts.parquet")),
                "out": str(folder / "completions.parquet"),
                "shards": str(folder / SHARDS),
                "samples_per_prompt": count,
                "seed": seed,
            }
        )
        return _made(result, prompts, count)

    config = session.config.sampling.model_dump(
        mode="json", exclude={"samples_per_prompt", *_STEERS_SPEED_ONLY}
    )
    return session.step(
        number,
        step,
        make,
        config={**config, "samples_per_prompt": count, "seed": seed},
        inputs={"policy": policy.id, "prompts": prompts.hash("prompts.parquet")},
    )


def _made(result: dict[str, Any], prompts: Artifact, count: int) -> Made:
    asked = prompts.entry.kept * count
    too_long = asked - result["completions"]
    return Made(
        came_in=asked,
        kept=result["completions"],
        dropped={"prompt_too_long": too_long} if too_long else {},
        versions=result.pop("versions"),
        facts=result,
    )
