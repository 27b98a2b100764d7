"""Step `completions`: the policy answers the round's prompts in the sampling process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.errors import PromptError
from dpo_core.tables import count_rows
from flows.round_state import Policy
from flows.session import Session
from generation.config import SamplingConfig
from generation.engine import DecodingOptions
from generation.jobs import CompletionsFacts, SampleJob

_STEERS_NO_ANSWER = {
    "until_pairs",
    "budget_tokens",
    "keep_worker",
    "gpu_memory_utilization",
    # These two change only the last bits of sums on some devices: no reason to sample again.
    "shard_prompts",
    "tensor_parallel_size",
}


@dataclass(frozen=True)
class Samples:
    """Completions per prompt, and the seed to sample them with."""

    count: int
    seed: int


def sample(
    session: Session, number: int, policy: Policy, prompts: Artifact, name: str = "completions"
) -> Artifact:
    """`sampling.samples_per_prompt` completions of every training prompt; name: of the step."""
    seed = session.seed("completions", number)
    samples = Samples(session.config.sampling.samples_per_prompt, seed)
    return answer_file(session, number, name, policy, prompts, samples)


def answer_file(
    session: Session, number: int, step: str, policy: Policy, prompts: Artifact, samples: Samples
) -> Artifact:
    """A step that samples completions of every prompt of `prompts`."""

    def make(folder: Path, inputs: Inputs) -> StepResult:
        prompts, weights = inputs.path("prompts"), inputs.path("policy")
        result = write_completions(session, policy.id, weights, prompts, folder, samples)
        if result.came_in and not result.kept:
            raise PromptError(
                f"none of the {result.came_in // samples.count:,} prompts fits into the model's "
                f"context beside sampling.max_tokens {session.config.sampling.max_tokens}",
                "Lower sampling.max_tokens, raise sampling.max_model_len, or shorten the prompts.",
            )
        return result

    return session.step(
        number,
        step,
        make,
        config=sampling_config(session.config.sampling, samples),
        inputs={"policy": policy.input, "prompts": prompts.input("prompts.parquet")},
    )


def write_completions(
    session: Session,
    model_id: str,
    weights: Path,
    prompts: Path,
    folder: Path,
    samples: Samples,
    decoding: DecodingOptions | None = None,
) -> StepResult:
    """Write completions.parquet with the model's answers to each prompt of a file.

    decoding: how tokens are chosen, by default as the config says.
    """
    sampling = session.config.sampling
    job = SampleJob(
        policy=weights,
        config=sampling,
        policy_id=model_id,
        source=prompts,
        out=folder / "completions.parquet",
        samples_per_prompt=samples.count,
        seed=samples.seed,
        decoding=decoding,
    )
    result = session.sample(job)
    steered = sampling.model_dump(include={"shard_prompts", "tensor_parallel_size"})
    wanted = count_rows(prompts) * samples.count
    too_long = wanted - result.completions
    return StepResult(
        came_in=wanted,
        kept=result.completions,
        dropped={"prompt_too_long": too_long} if too_long else {},
        versions=result.versions,
        facts=CompletionsFacts.read({**result.as_json(), **steered}),
    )


def sampling_config(sampling: SamplingConfig, samples: Samples) -> Mapping[str, object]:
    """What completions depend on besides policy and prompts."""
    config = sampling.model_dump(mode="json", exclude={"samples_per_prompt", *_STEERS_NO_ANSWER})
    return {**config, "samples_per_prompt": samples.count, "seed": samples.seed}
