"""What a cluster has, and whether one answers. Imports no Ray."""

import socket
from dataclasses import dataclass
from importlib.util import find_spec

from dpo_core.errors import BadInput
from dpo_core.install_hint import install
from flows.config.compute import ComputeConfig

_PROBE_S = 5.0


@dataclass(frozen=True)
class Room:
    """CPUs and GPUs of a node, or what a worker needs of them."""

    cpus: int
    gpus: int

    def holds(self, needed: "Room") -> int:
        """Workers with such needs that find room here."""
        parts = [(self.cpus, needed.cpus), (self.gpus, needed.gpus)]
        return min(has // needs for has, needs in parts if needs)

    def __str__(self) -> str:
        cpus = f"{self.cpus} CPU{'s' * (self.cpus != 1)}"
        return f"({self.gpus} GPU{'s' * (self.gpus != 1)}, {cpus})" if self.gpus else cpus


@dataclass(frozen=True)
class ClusterNode:
    """A node that is alive: what it has in all, and what nobody has reserved. address: by which the
    others reach it."""

    id: str
    name: str
    address: str
    number: int
    room: Room
    free: Room
    memory_gib: float


def check_reachable(compute: ComputeConfig) -> None:
    """Raise BadInput where Ray is not installed, or nothing answers at the address.

    Ray itself would try an address where nothing answers for minutes.
    """
    if find_spec("ray") is None:
        raise BadInput(
            "compute.kind ray needs the package ray, which is not installed",
            f"{install('ray')}, or set compute.kind to local",
        )
    if compute.address is None:
        return
    host, _, port = compute.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"nothing answers at compute.address {compute.address}: {error}",
            "Start the cluster (ray start --head --port=6379), or name the HOST:PORT that it "
            "printed.",
        ) from None


def refused(compute: ComputeConfig, error: Exception) -> BadInput:
    """The error for a cluster that answers and refuses."""
    why = " ".join(str(error).split())[:400]
    where = compute.address or "on this machine"
    return BadInput(
        f"the Ray cluster {where} cannot be used: {type(error).__name__}: {why}",
        "Set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's token, run this on one of its "
        "nodes, and install the same versions of Ray and Python on all of them.",
    )
