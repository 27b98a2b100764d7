"""Jobs of the sampling process. Loads no torch."""

from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import Field

from dpo_core.config import Count
from dpo_core.jobs import ChildJob, JobResult, Kinds, Lifetime, Result, job_kinds
from dpo_core.step_facts import EngineSpeed
from generation.config import SamplingConfig
from generation.engine import DecodingOptions

_SCORED_ROWS = 1024


class EngineResult(JobResult):
    """What an engine did on `device`, cpu or cuda.

    workers, nodes, attempts: on a cluster, how many engines shared the work, on which machines, and
    how often shards were begun in all.
    """

    threads: int = 0
    device: str = "cpu"
    workers: int = 0
    nodes: tuple[str, ...] = ()
    attempts: int = 0


class SampleResult(EngineResult):
    """Counts of a completions file. seconds_engine: of `seconds`, those of sampling itself; of
    several `engines`, those of the one that took longest."""

    prompts: int = 0
    prompt_tokens: int = 0
    completions: int = 0
    tokens: int = 0
    truncated: int = 0
    seconds_engine: float = 0.0
    seconds: float = 0.0
    engines: tuple[EngineSpeed, ...] = ()


class CompletionsFacts(SampleResult):
    """The facts of every step that answers prompts, and of an import of answers.

    own_samples: answers with a lower sample index are the policy's, the others those of the model
    `rejected_from`. chat: whether a task of lm-eval asks in the policy's chat template.
    continuations: texts whose likelihood was taken.
    """

    shard_prompts: int | None = None
    tensor_parallel_size: int | None = None
    own_samples: int | None = None
    rejected_from: str = ""
    chat: bool = False
    continuations: int | None = None


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

    @property
    def devices(self) -> int:
        return self.config.tensor_parallel_size

    @property
    def lifetime(self) -> Lifetime:
        return self.config.keep_worker


class RowsJob(EngineJob[OnEngine]):
    """A job for each row of the parquet file `source`, whose results are written to `out`; for
    `count` rows from the row `first` on, or for all that follow it."""

    source: Path
    out: Path
    first: int = Field(0, ge=0)
    count: Count | None = None

    @property
    def shard_rows(self) -> int:
        """Rows that are carried out and written as one unit."""
        return _SCORED_ROWS

    @property
    def units_per_row(self) -> int:
        """Units of progress for each row."""
        return 1


class SampleJob(RowsJob[SampleResult]):
    """Sample `samples_per_prompt` completions (schema COMPLETIONS) for every prompt of the file.

    policy_id: id that the completions carry. seed: mixed with each prompt's id. decoding: overrides
    the config's options.
    """

    op: Literal["sample"] = "sample"
    policy_id: str
    samples_per_prompt: Count
    seed: int
    decoding: DecodingOptions | None = None

    @property
    def shard_rows(self) -> int:
        return self.config.shard_prompts

    @property
    def units_per_row(self) -> int:
        return self.samples_per_prompt


class ScoreJob(RowsJob[EngineResult]):
    """Log-probs (schema LOGPS) of given completions (schema SCORED)."""

    op: Literal["logps"] = "logps"


class ContinuationsJob(RowsJob[ContinuationsResult]):
    """Log-probs (schema LIKELIHOODS) of given texts (schema CONTINUATIONS)."""

    op: Literal["continuations"] = "continuations"


class TokenJob(ChildJob[Result]):
    """Encode texts as `policy` does. longest: most tokens of prompt and answer together; None for
    the policy's context."""

    policy: Path
    longest: int | None = None

    @property
    def devices(self) -> int:
        return 0


class TokeniseJob(TokenJob[TokeniseResult]):
    """Write imported pairs (schema IMPORTED) as prompts, completions and preferences.

    held_out, gate_pool: parquet files of prompts that must not be trained on. hard: write every
    preference with p_chosen = 1.
    """

    writes: ClassVar[frozenset[str]] = frozenset({"out_dir"})

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
