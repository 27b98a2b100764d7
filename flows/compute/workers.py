"""How many processes work side by side on this machine, and which GPUs each has."""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.processor import available_threads, free_ram_gib, list_gpus
from flows.config.compute import Workers
from generation.config import SamplingConfig

VLLM_LIBRARIES_GIB = 0.85
"""Resident memory on a CPU of a process with vLLM and no model, measured."""


@dataclass(frozen=True)
class MachineResources:
    """What there is for workers: GPUs by their names, cores, and free memory."""

    gpus: Sequence[str]
    cores: int
    free_gib: float

    @classmethod
    def of_this_machine(cls) -> "MachineResources":
        return cls(list_gpus(), available_threads(), free_ram_gib())


@dataclass(frozen=True)
class WorkerNeeds:
    """What each worker has for itself: GPUs where there are some, else threads and memory."""

    gpus: int
    threads: int
    gib: float


def count_workers(wanted: Workers, machine: MachineResources, needs: WorkerNeeds) -> int:
    """Workers side by side: as many as are wanted, or as there is room for; at least one.

    On GPUs there are never more than have their own; on a CPU a wanted number is taken as it is.

    Example:
        >>> machine = MachineResources(gpus=(), cores=8, free_gib=5.0)
        >>> count_workers("auto", machine, WorkerNeeds(gpus=1, threads=2, gib=2.0))
        2
    """
    if machine.gpus:
        room = len(machine.gpus) // needs.gpus
        return max(1, room if wanted == "auto" else min(room, wanted))
    if wanted != "auto":
        return wanted
    return max(1, min(machine.cores // needs.threads, int(machine.free_gib / needs.gib)))


def devices_of(worker: int, machine: MachineResources, gpus: int) -> Sequence[str]:
    """The GPUs of a worker, counted from 0, of which each has so many; none on a CPU."""
    return machine.gpus[worker * gpus : (worker + 1) * gpus]


def engine_needs(config: SamplingConfig, policy: Path, threads: int) -> WorkerNeeds:
    """What an engine with the weights in the folder `policy` has for itself.

    Engines of transformers do not work side by side, so one of them needs all there is.
    """
    if config.engine != "vllm":
        return WorkerNeeds(config.tensor_parallel_size, sys.maxsize, math.inf)
    return WorkerNeeds(config.tensor_parallel_size, threads, _on_cpu_gib(policy))


def judge_needs(model: str, gpus: int, threads: int) -> WorkerNeeds:
    """What a process with a judge's model, a folder or a hub's id, has for itself."""
    return WorkerNeeds(gpus, threads, _on_cpu_gib(Path(model)))


def vllm_cache_gib() -> float:
    """Memory that vLLM takes on a CPU for keys and values."""
    return float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))


def _on_cpu_gib(model: Path) -> float:
    files = [file for file in model.iterdir() if file.is_file()] if model.is_dir() else []
    weights = sum(file.stat().st_size for file in files) / 2**30
    return weights + vllm_cache_gib() + VLLM_LIBRARIES_GIB
