"""Jobs of the training process. Loads no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from dpo_core.config import Count, PositiveShare, SftConfig, TrainingConfig
from dpo_core.jobs import ChildJob, JobResult, Kinds, job_kinds
from dpo_core.training.results import AverageResult, BaseResult, DpoResult, LogpsResult


class DpoJob(ChildJob[DpoResult]):
    """Train the policy in `policy_dir` for one DPO round.

    reference_dir: weights of the reference; None means the policy before training. A loss without a
    reference reads neither. cache_dir: folder of cached reference log-probs.
    preferences, completions: parquet files with the schemas PREFERENCES and COMPLETIONS.
    out_dir: folder for the trained policy, as `save_pretrained` writes it.
    curve_path, reference_logps_path: parquet files to write, schemas in metrics.curves.
    adapter_dir: folder for the adapters of a round with LoRA.
    optimiser_from, optimiser_to: files (safetensors) to load AdamW's state from and save it to.
    checkpoints: folder from which a killed round resumes; removed when the round is finished.
    events_dir: folder for the curve as TensorBoard events, written while the round trains.
    known_peaks: peaks of devices that earlier rounds measured, by name; not measured again.
    """

    writes: ClassVar[frozenset[str]] = frozenset(
        {
            "out_dir",
            "curve_path",
            "reference_logps_path",
            "adapter_dir",
            "optimiser_to",
            "events_dir",
        }
    )
    stays: ClassVar[frozenset[str]] = frozenset({"cache_dir", "checkpoints"})

    op: Literal["dpo"] = "dpo"
    policy_dir: Path
    preferences: Path
    completions: Path
    out_dir: Path
    curve_path: Path
    reference_logps_path: Path
    reference_dir: Path | None = None
    cache_dir: Path | None = None
    adapter_dir: Path | None = None
    optimiser_from: Path | None = None
    optimiser_to: Path | None = None
    checkpoints: Path | None = None
    events_dir: Path | None = None
    known_peaks: Mapping[str, float] = {}
    config: TrainingConfig = TrainingConfig()
    seed: int = 0
    threads: Count = 1

    @property
    def devices(self) -> int | Literal["all"]:
        return "all" if self.config.processes == "auto" else self.config.processes


class JoinJob(ChildJob[JobResult]):
    """Train a round together with other machines, whose first one has its `DpoJob`.

    config: with this machine's options of torchrun.
    """

    op: Literal["join"] = "join"
    config: TrainingConfig

    @property
    def devices(self) -> int | Literal["all"]:
        return "all" if self.config.processes == "auto" else self.config.processes


class BaseJob(ChildJob[BaseResult]):
    """Make the base policy: from `model` (folder, GGUF file or hub id) or `build`, warm-started.

    held_out: parquet of prompts (schema PROMPTS) that must not be trained on. never: ids of more
    such prompts. never_messages: messages of those that are conversations.
    out_dir: folder for the base policy. curve_path: parquet file to write, schema SFT_CURVE.
    """

    writes: ClassVar[frozenset[str]] = frozenset({"out_dir", "curve_path"})

    op: Literal["base"] = "base"
    model: str | None = None
    revision: str | None = None
    build: str | None = None
    build_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    sft: SftConfig | None = None
    held_out: Path | None = None
    never: list[str] = Field(default_factory=list)
    never_messages: list[list[dict[str, str]]] = Field(default_factory=list)
    out_dir: Path
    curve_path: Path
    seed: int = 0
    threads: Count = 1


class AverageJob(ChildJob[AverageResult]):
    """Write to `out_dir` the policy that lies the share `rate` of the way from `from_dir`'s weights
    to `to_dir`'s, in float32. Config and tokenizer are those of `to_dir`."""

    writes: ClassVar[frozenset[str]] = frozenset({"out_dir"})

    op: Literal["average"] = "average"
    from_dir: Path
    to_dir: Path
    out_dir: Path
    rate: PositiveShare


class LogpsJob(ChildJob[LogpsResult]):
    """Write to `out` (schema LOGPS) the log-probs of a file's completions (schema SCORED) under a
    policy. dtype: of weights and products; sums over the vocabulary are float32."""

    op: Literal["logps"] = "logps"
    policy_dir: Path
    completions: Path
    out: Path
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Count = 1


TrainingJob = DpoJob | JoinJob | BaseJob | AverageJob | LogpsJob

JOBS: Kinds[TrainingJob] = job_kinds(DpoJob, JoinJob, BaseJob, AverageJob, LogpsJob)
