"""Section `compute`: how many processes work side by side. None of it enters a fingerprint."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, Section

Workers = Count | Literal["auto"]


class ComputeConfig(Section):
    """Where a campaign's jobs run."""

    sampling_workers: Workers = Field(
        "auto",
        description="engines that sample side by side, each with sampling.tensor_parallel_size "
        "GPUs; auto: as many as there are GPUs for; on a CPU, as many as cores and memory allow "
        "with `threads` each",
    )
    judge_workers: Workers = Field(
        "auto", description="processes side by side for each judge that is a model; auto as above"
    )
