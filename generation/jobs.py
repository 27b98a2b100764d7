"""Jobs of the sampling process. Loads no torch."""

from pathlib import Path
from typing import Literal

from dpo_core.config import Count
from dpo_core.jobs import ChildJob, JobResult, Kinds, job_kinds
from generation.config import SamplingConfig
from generation.engine import DecodingOptions


class EngineJob(ChildJob[JobResult]):
    """A job for an engine of this config, with the weights in `policy`."""

    policy: Path
    config: SamplingConfig = SamplingConfig()


class SampleJob(EngineJob):
    """Sample `samples_per_prompt` completions for every prompt of the file `prompts`.

    policy_id: id that the completions carry. seed: mixed with each prompt's id. shards: folder
    whose finished shards are not sampled again. decoding: overrides the config's options.
    """

    op: Literal["sample"] = "sample"
    policy_id: str
    prompts: Path
    out: Path
    shards: Path
    samples_per_prompt: Count
    seed: int
    decoding: DecodingOptions | None = None


class ScoreJob(EngineJob):
    """Write to `out` (schema LOGPS) the log-probs of a file's completions (schema SCORED)."""

    op: Literal["logps"] = "logps"
    completions: Path
    out: Path


class ContinuationsJob(EngineJob):
    """Write to `out` (schema LIKELIHOODS) the log-probs of texts (schema CONTINUATIONS)."""

    op: Literal["continuations"] = "continuations"
    continuations: Path
    out: Path


class TokeniseJob(ChildJob[JobResult]):
    """Write imported pairs (schema IMPORTED) as prompts, completions and preferences.

    held_out, gate_pool: parquet files of prompts that must not be trained on. longest: most tokens
    of prompt and answer together; None for the policy's context. hard: write every preference with
    p_chosen = 1.
    """

    op: Literal["tokenise"] = "tokenise"
    policy: Path
    pairs: Path
    held_out: Path
    out_dir: Path
    longest: int | None = None
    hard: bool = False
    gate_pool: Path | None = None


class RetokeniseJob(ChildJob[JobResult]):
    """Write completions of `prompts` by another model with the token ids of `policy`.

    longest: most tokens of prompt and answer together; None for the policy's context.
    """

    op: Literal["retokenise"] = "retokenise"
    policy: Path
    prompts: Path
    completions: Path
    out: Path
    longest: int | None = None


TokenJob = TokeniseJob | RetokeniseJob
SamplingJob = SampleJob | ScoreJob | ContinuationsJob | TokenJob

JOBS: Kinds[SamplingJob] = job_kinds(
    SampleJob, ScoreJob, ContinuationsJob, TokeniseJob, RetokeniseJob
)
