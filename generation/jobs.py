"""Jobs of the sampling process. Loads no torch."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from dpo_core.config import Count
from dpo_core.jobs import ChildJob, JobResult, Kinds, Result, job_kinds
from generation.config import SamplingConfig
from generation.engine import DecodingOptions


class EngineResult(JobResult):
    """What an engine did on `device`, cpu or cuda."""

    threads: int = 0
    device: str = "cpu"


class SampleResult(EngineResult):
    """Counts of a completions file. seconds_engine: of `seconds`, those of sampling itself."""

    prompts: int = 0
    prompt_tokens: int = 0
    completions: int = 0
    tokens: int = 0
    truncated: int = 0
    seconds_engine: float = 0.0
    seconds: float = 0.0


class ContinuationsResult(EngineResult):
    """The number of `continuations` that were scored."""

    continuations: int = 0


class TokeniseResult(JobResult):
    """Numbers of rows read, dropped by reason, and written."""

    rows: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    prompts: int = 0
    completions: int = 0
    preferences: int = 0
    tokens: int = 0


class RetokeniseResult(JobResult):
    """Numbers of completions kept, and dropped by reason."""

    kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)


OnEngine = TypeVar("OnEngine", bound=EngineResult, covariant=True)


class EngineJob(ChildJob[OnEngine]):
    """A job for an engine of this config, with the weights in `policy`."""

    policy: Path
    config: SamplingConfig = SamplingConfig()


class SampleJob(EngineJob[SampleResult]):
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


class ScoreJob(EngineJob[EngineResult]):
    """Write to `out` (schema LOGPS) the log-probs of a file's completions (schema SCORED)."""

    op: Literal["logps"] = "logps"
    completions: Path
    out: Path


class ContinuationsJob(EngineJob[ContinuationsResult]):
    """Write to `out` (schema LIKELIHOODS) the log-probs of texts (schema CONTINUATIONS)."""

    op: Literal["continuations"] = "continuations"
    continuations: Path
    out: Path


class TokenJob(ChildJob[Result]):
    """Encode texts as `policy` does. longest: most tokens of prompt and answer together; None for
    the policy's context."""

    policy: Path
    longest: int | None = None


class TokeniseJob(TokenJob[TokeniseResult]):
    """Write imported pairs (schema IMPORTED) as prompts, completions and preferences.

    held_out, gate_pool: parquet files of prompts that must not be trained on. hard: write every
    preference with p_chosen = 1.
    """

    op: Literal["tokenise"] = "tokenise"
    pairs: Path
    held_out: Path
    out_dir: Path
    hard: bool = False
    gate_pool: Path | None = None


class RetokeniseJob(TokenJob[RetokeniseResult]):
    """Write completions of `prompts` by another model with the token ids of `policy`."""

    op: Literal["retokenise"] = "retokenise"
    prompts: Path
    completions: Path
    out: Path


SamplingJob = SampleJob | ScoreJob | ContinuationsJob | TokeniseJob | RetokeniseJob

JOBS: Kinds[SamplingJob] = job_kinds(
    SampleJob, ScoreJob, ContinuationsJob, TokeniseJob, RetokeniseJob
)
