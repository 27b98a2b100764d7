"""What workers need of a cluster, and what it lacks. Imports no Ray."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpo_core.errors import BadInput
from flows.compute.cluster import ClusterNode, Room
from flows.compute.executor import WorkerPlan


@dataclass(frozen=True)
class Demand:
    """So many places with this room for workers of one name. apart: each on a node of its own."""

    name: str
    count: int
    room: Room
    apart: bool = False

    @classmethod
    def of(cls, plan: WorkerPlan, nodes: Sequence[ClusterNode]) -> "Demand":
        """On nodes with GPUs a place has no more CPUs than go with its GPUs."""
        apart = plan.nodes > 1
        count = plan.nodes if apart else plan.side_by_side
        on_gpus = sorted((n.room.gpus for n in nodes if n.room.gpus), reverse=True)
        if not on_gpus:
            return cls(plan.name, count, Room(plan.threads, 0), apart)
        all_gpus = on_gpus[min(plan.nodes, len(on_gpus)) - 1]
        gpus = all_gpus if plan.gpus is None else plan.gpus
        share = min(n.room.cpus * gpus // n.room.gpus for n in nodes if n.room.gpus)
        return cls(plan.name, count, Room(max(1, min(plan.threads, share)), gpus), apart)

    def check_possible(self, nodes: Sequence[ClusterNode]) -> None:
        """Raise BadInput where the cluster would lack room if nobody else used it."""
        places = self._places(node.room for node in nodes)
        if places >= self.count:
            return
        raise BadInput(
            f"{self._needs}, the cluster has {places}{self._of_such}",
            "Lower compute.nodes or training.processes, add machines, or, for fewer CPUs in a new "
            "campaign, lower threads."
            if self.apart
            else "Lower compute.sampling_workers, compute.judge_workers, "
            "sampling.tensor_parallel_size or training.processes, add machines, or, for fewer "
            "CPUs in a new campaign, lower threads.",
        )

    def missing(self, nodes: Sequence[ClusterNode]) -> str:
        """What is needed, and what of it is free now."""
        places = self._places(node.free for node in nodes)
        return f"{self._needs}, the cluster has {places}{self._of_such} free"

    @property
    def _needs(self) -> str:
        if self.apart:
            return f"{self.name} needs {self.count} nodes with {self.room} each"
        return f"{self.name} needs {self.count} × {self.room}"

    @property
    def _of_such(self) -> str:
        return "" if self.apart else f" × {self.room}"

    def _places(self, rooms: Iterable[Room]) -> int:
        places = [room.holds(self.room) for room in rooms]
        return sum(min(1, each) for each in places) if self.apart else sum(places)
