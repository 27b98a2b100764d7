"""How many processes work side by side on this machine, and which GPUs each has."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpo_core.processor import available_threads, free_ram_gib, list_gpus
from flows.config.compute import Workers


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


def devices_of(worker: int, machine: MachineResources, needs: WorkerNeeds) -> Sequence[str]:
    """The GPUs of a worker, counted from 0; none on a CPU."""
    return machine.gpus[worker * needs.gpus : (worker + 1) * needs.gpus]
