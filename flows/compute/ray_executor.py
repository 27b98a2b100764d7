"""A Ray cluster as the place where jobs run: the only module that imports ray.

Each worker is an actor in a placement group of its own, with the threads and GPUs of one engine,
and owns one of Ratchet's ordinary children. Actors are owned by this process and never restarted by
Ray, so that all end with it and Ratchet alone decides what is begun again.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from dpo_core.campaign.workers_now import PlacedWorker, WorkersNow
from dpo_core.children import RESUME
from dpo_core.errors import ChildDied
from dpo_core.processor import available_threads
from flows.compute.cluster import ClusterNode, Room, check_reachable, refused
from flows.compute.executor import Worker, WorkerPlan
from flows.compute.gang import Gang
from flows.compute.owner import ChildOwner, SharedFolder, describe_versions
from flows.compute.placement import Demand
from flows.compute.remote_worker import OwnerLost, RemoteWorker
from flows.compute.shipping import Shipper
from flows.compute.workers import MachineResources
from flows.config.compute import ComputeConfig

_SETTLED_S = 3.0
"""What ended workers held is free on the cluster's books after this time at the latest."""
_SHOWN_AFTER_S = 2.0
_VERSIONS_S = 60.0
_OBJECT_STORE = 100 * 2**20
"""Bytes for a cluster on this machine: what travels through it is text."""


def connect(compute: ComputeConfig) -> None:
    """Connect to the cluster of the config, or start one on this machine; once.

    Raises BadInput where Ray is not installed, and where no cluster of the same versions answers.
    """
    check_reachable(compute)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever reaches a cluster runs code on it
    if compute.address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", token_hex(32))
    import ray

    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    how: dict[str, object] = {"address": compute.address}
    if compute.address is None:
        how = {
            "address": "local",
            "num_cpus": available_threads(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
            "_node_ip_address": "127.0.0.1",
        }
    on_sigterm = signal.getsignal(signal.SIGTERM)
    began: queue.Queue[Exception | None] = queue.Queue()
    keeper = threading.Thread(target=_keep, args=(how, began), name="ray", daemon=True)
    keeper.start()
    error = began.get()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints where the process was
    if error is not None:
        raise refused(compute, error) from None


_LEFT = threading.Event()


def _keep(how: dict[str, object], began: "queue.Queue[Exception | None]") -> None:
    """Connect, and wait until the cluster is left: what Ray starts ends with that thread."""
    import ray

    _LEFT.clear()
    try:
        ray.init(**how, log_to_driver=False, configure_logging=False)
    except Exception as error:  # of many classes, by what is wrong
        began.put(error)
        return
    began.put(None)
    _LEFT.wait()


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    import ray

    ray.shutdown()
    _LEFT.set()


def node_versions() -> dict[str, str]:
    """What each node answers with, by its name; under no name, this machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    versions = ray.remote(describe_versions)

    def of_node(node: ClusterNode) -> Any:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return versions.options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote()

    asked = [(node.name, of_node(node)) for node in cluster_nodes()]
    found = {"": describe_versions()}
    for name, reference in asked:
        try:
            found[name] = ray.get(reference, timeout=_VERSIONS_S)
        except ray.exceptions.RayError as error:
            found[name] = f"no working Ratchet ({' '.join(str(error).split())[-200:]})"
    return found


def cluster_nodes() -> list[ClusterNode]:
    """The nodes that are alive and have something for workers."""
    import ray
    from ray._private.state import available_resources_per_node  # no public one tells it by node

    free = available_resources_per_node()
    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = [
        ClusterNode(
            id=node["NodeID"],
            name=_node_name(node),
            address=str(node["NodeManagerAddress"]),
            number=number,
            room=_room(node["Resources"]),
            free=_room(free.get(node["NodeID"], {})),
            memory_gib=node["Resources"].get("memory", 0.0) / 2**30,
        )
        for number, node in enumerate(sorted(alive, key=lambda node: str(node["NodeID"])))
    ]
    return [node for node in nodes if node.room.cpus]


def _node_name(node: dict[str, Any]) -> str:
    """The name that the node was started with, else that of its machine."""
    name, address = str(node["NodeName"]), str(node["NodeManagerAddress"])
    return str(node["NodeManagerHostname"]) if name == address else name


def _room(resources: dict[str, float]) -> Room:
    return Room(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _answer(reference: Any, timeout_s: float | None = None) -> Any:
    """What an actor answers. Raises OwnerLost where it is gone, or does not answer in time."""
    import ray

    try:
        return ray.get(reference, timeout=timeout_s)
    except ray.exceptions.RayError as error:
        text = " ".join(str(error).split())[:300]
        raise OwnerLost(f"{type(error).__name__}: {text}") from None


# ── the executor ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Held:
    """What a worker has of the cluster."""

    group: Any
    owner: Any
    node: ClusterNode
    room: Room
    doing: str = ""


class RayExecutor:
    """Workers on the nodes of a Ray cluster; it is connected to when the first one is needed.

    status: file that tells which node does what. notice: shows people a wait. shipper: where nodes
    do not see the campaign's folder.
    """

    exclusive = True

    def __init__(
        self,
        compute: ComputeConfig,
        status: Path,
        notice: Callable[[str], None],
        shipper: Shipper | None = None,
    ) -> None:
        self.attempts = compute.attempts
        self._compute = compute
        self._status = status
        self._notice = notice
        self._shipper = shipper
        cache = None if shipper is None else shipper.cache
        self._folder = SharedFolder(status.absolute(), token_hex(16), Path.cwd(), cache)
        self._held: dict[RemoteWorker, _Held] = {}
        self._placed: set[Demand] = set()
        self._lock = threading.RLock()
        self._given_up = 0
        self._connected = False

    def start(self, plan: WorkerPlan) -> Worker:
        """As every executor. Raises BadInput where the cluster has no such room at all, and
        ChildDied where it has none within `compute.place_timeout_s`."""
        self._connect()
        demand = Demand.of(plan, cluster_nodes())
        if demand not in self._placed:  # else a node may be lost, which may come back
            demand.check_possible(cluster_nodes())
        group, nodes = self._place(demand)
        members = [
            self._own(plan.on_node(number), demand.room, group, number, node)
            for number, node in enumerate(nodes)
        ]
        worker = Gang(members, nodes[0].address) if demand.apart else members[0]
        try:
            worker.start(self._folder)
        except BaseException:
            worker.close()
            raise
        self._placed.add(demand)
        return worker

    def machines(self) -> Sequence[MachineResources]:
        """Each node as far as nobody else has reserved it."""
        self._connect()
        until = time.monotonic() + _SETTLED_S
        while (nodes := self._free_for_us()) and time.monotonic() < until:
            if all(node.free == node.room for node in nodes):
                break
            time.sleep(0.1)
        return [
            MachineResources(
                tuple(map(str, range(node.free.gpus))), node.free.cpus, node.memory_gib
            )
            for node in nodes
        ]

    def stop_waiting(self) -> None:
        self._given_up += 1

    def close(self) -> None:
        if not self._connected:
            return
        for worker in tuple(self._held):
            worker.close()
        disconnect()
        self._connected = False
        self._status.unlink(missing_ok=True)

    def _connect(self) -> None:
        with self._lock:
            if not self._connected:
                connect(self._compute)
                self._connected = True
                self._write_status()

    def _place(self, demand: Demand) -> tuple[Any, list[ClusterNode]]:
        """A placement group for one worker, and the nodes of its bundles in their order."""
        from ray.util import placement_group, placement_group_table, remove_placement_group

        room = demand.room
        bundle = {"CPU": room.cpus} | ({"GPU": room.gpus} if room.gpus else {})
        given_up, began, shown = self._given_up, time.monotonic(), False
        bundles, strategy = [bundle], "STRICT_PACK"
        if demand.apart:
            bundles, strategy = [bundle] * demand.count, "STRICT_SPREAD"
        group = placement_group(bundles, strategy=strategy)
        try:
            while not group.wait(timeout_seconds=0.5):
                waited = time.monotonic() - began
                missing = demand.missing(cluster_nodes())
                if self._given_up != given_up:
                    raise ChildDied(f"no longer needed: {missing}")
                if waited > self._compute.place_timeout_s:
                    raise ChildDied(
                        f"{missing}, and had no more for {waited:.0f} s",
                        "Wait until others release it, or raise compute.place_timeout_s. " + RESUME,
                    )
                if waited > _SHOWN_AFTER_S and not shown:
                    shown = True
                    limit = self._compute.place_timeout_s
                    self._notice(f"{missing}; waits for up to {limit:g} s")
            placed = placement_group_table(group)["bundles_to_node_id"]
            nodes = {node.id: node for node in cluster_nodes()}
            if not all(node_id in nodes for node_id in placed.values()):
                raise ChildDied(f"{demand.name} lost a node before it began", RESUME)
            return group, [nodes[placed[number]] for number in sorted(placed)]
        except BaseException:
            remove_placement_group(group)
            raise

    def _own(
        self,
        plan: WorkerPlan,
        needs: Room,
        group: Any,
        bundle: int,
        node: ClusterNode,
    ) -> RemoteWorker:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options = {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, bundle),
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": 4,  # it is asked for costs, stopped and closed while it works
        }
        owner = ray.remote(ChildOwner).options(**options).remote(node.name)
        told = (self._release, self._set_doing, self._shipper)
        worker = RemoteWorker(plan, node, owner, _answer, *told)
        with self._lock:
            self._held[worker] = _Held(group, owner, node, needs, "starting")
        self._write_status()
        return worker

    def _release(self, worker: RemoteWorker) -> None:
        import ray
        from ray.util import remove_placement_group

        with self._lock:
            held = self._held.pop(worker)
            last = all(other.group is not held.group for other in self._held.values())
        with suppress(Exception):  # of a node that is gone
            ray.kill(held.owner, no_restart=True)
        if last:
            with suppress(Exception):
                remove_placement_group(held.group)
        self._write_status()

    def _set_doing(self, worker: RemoteWorker, what: str) -> None:
        with self._lock:
            if worker in self._held:
                self._held[worker] = replace(self._held[worker], doing=what)
        self._write_status()

    def _write_status(self) -> None:
        with self._lock:
            workers = [
                PlacedWorker(name=worker.plan.name, node=held.node.name, doing=held.doing)
                for worker, held in self._held.items()
            ]
            WorkersNow(run=self._folder.run, workers=tuple(workers)).write(self._status)

    def _free_for_us(self) -> list[ClusterNode]:
        """The nodes; free is also what this executor's workers have."""
        with self._lock:
            held = list(self._held.values())

        def with_ours(node: ClusterNode) -> ClusterNode:
            ours = [each.room for each in held if each.node.id == node.id]
            free = Room(
                min(node.room.cpus, node.free.cpus + sum(room.cpus for room in ours)),
                min(node.room.gpus, node.free.gpus + sum(room.gpus for room in ours)),
            )
            return replace(node, free=free)

        return [with_ours(node) for node in cluster_nodes()]
