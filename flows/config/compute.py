"""Section `compute`: where processes work, and how many side by side. None of it enters a
fingerprint."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, Section

Workers = Count | Literal["auto"]


class ComputeConfig(Section):
    """Where a campaign's jobs run."""

    kind: Literal["local", "ray"] = Field(
        "local", description="local: on this machine; ray: on a cluster of Ray"
    )
    address: str | None = Field(
        None,
        pattern=r"^[^\s:/]+:[0-9]{1,5}$",
        description="HOST:PORT of a running Ray cluster; none with kind ray: one is started on "
        "this machine, for this run",
    )
    nodes: Count = Field(
        1,
        description="kind ray: machines that train a round together, each with training.processes",
    )
    place_timeout_s: float = Field(
        600, gt=0, description="kind ray: longest wait for free machines, in seconds"
    )
    attempts: Count = Field(
        3,
        description="kind ray: how often a shard, or training, is begun when its process, actor or "
        "machine is lost",
    )
    cache_dir: str | None = Field(
        None,
        pattern=r"^/.",
        description="kind ray: absolute folder on each node for the files that its jobs read, "
        "fetched from storage.url; for clusters whose nodes do not share the campaign's folder",
    )

    sampling_workers: Workers = Field(
        "auto",
        description="engines that sample side by side, each with sampling.tensor_parallel_size "
        "GPUs; auto: as many as there are GPUs for; on a CPU, as many as cores and memory allow "
        "with `threads` each",
    )
    judge_workers: Workers = Field(
        "auto", description="processes side by side for each judge that is a model; auto as above"
    )
