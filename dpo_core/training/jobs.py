"""What the training process is asked to do. Loading this module loads no torch.

A job travels as JSON: `job.model_dump(mode="json")` there, `DpoJob.model_validate(...)` here.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dpo_core.config import Count, PositiveShare, Section, SftConfig, TrainingConfig


class DpoJob(Section):
    """One DPO round: the policy in `policy_dir` is trained.

    reference_dir: weights of the reference; None: the policy as it was. A loss that compares with
    none reads neither. cache_dir: folder for reference log-probs that later runs may need again.
    preferences, completions: parquet files with the schemas records.PREFERENCES and COMPLETIONS.
    out_dir: folder for the trained policy, as `save_pretrained` writes it.
    curve_path, reference_logps_path: parquet files to write, schemas in metrics.curves.
    adapter_dir: folder for the adapters of a round with LoRA.
    optimiser_from, optimiser_to: AdamW's state (safetensors) to go on with, and to leave behind.
    checkpoints: folder of what a killed round goes on from; removed when the round is finished.
    events_dir: folder for the curve as TensorBoard's events, written while the round trains.
    """

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
    config: TrainingConfig = TrainingConfig()
    seed: int = 0
    threads: Count = 1


class BaseJob(Section):
    """The base policy: `model`, a folder, GGUF file or hub id, or what `build` makes; warm-started
    by `sft`.

    held_out: parquet of prompts (records.PROMPTS) that must not be trained on; never: ids of
    more, and never_messages: those of them that are conversations.
    out_dir: folder for the base policy; curve_path: parquet, schema curves.SFT_CURVE.
    """

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


class AverageJob(Section):
    """A policy between two, written to `out_dir`: the share `rate` of the way from `from_dir`'s
    weights to `to_dir`'s, in float32. Configuration and tokenizer are those of `to_dir`."""

    from_dir: Path
    to_dir: Path
    out_dir: Path
    rate: PositiveShare


class LogpsJob(Section):
    """Log-probs of the completions of a file (schema SCORED) under a policy, written to `out`
    (schema LOGPS). dtype: of weights and products; sums over the vocabulary are float32."""

    policy_dir: Path
    completions: Path
    out: Path
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Count = 1
