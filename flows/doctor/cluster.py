"""Checks of a Ray cluster: installed, reachable, and the same versions on all nodes."""

from collections.abc import Iterator, Mapping

from dpo_core.errors import BadInput
from dpo_core.text import counted
from flows.compute.cluster import check_reachable
from flows.config import CampaignConfig
from flows.doctor.findings import DoctorFinding, ok, problem

_WHERE = "compute"


def check_cluster(config: CampaignConfig, *, nodes: bool = True) -> Iterator[DoctorFinding]:
    """Nothing where the campaign runs on this machine. nodes: whether to ask each node."""
    if config.compute.kind == "local":
        return
    from flows.compute.ray_executor import cluster_nodes, connect, disconnect, node_versions

    try:
        check_reachable(config.compute)
        if config.compute.address is None:
            yield ok("cluster", "a run starts a cluster of Ray on this machine", _WHERE)
            return
        connect(config.compute)
        try:
            yield from check_count(config.compute.nodes, len(cluster_nodes()))
            yield from check_versions(node_versions()) if nodes else ()
        finally:
            disconnect()
    except BadInput as error:
        yield problem("cluster", error.message, _WHERE, error.remedy)


def check_count(wanted: int, there: int) -> Iterator[DoctorFinding]:
    """Whether there are as many nodes as train together."""
    if wanted > there:
        yield problem(
            "cluster",
            f"compute.nodes {wanted} train a round together, but the cluster has "
            f"{counted(there, 'node')}",
            "compute.nodes",
            f"Lower it to at most {max(1, there)}, or add machines.",
        )


def check_versions(versions: Mapping[str, str]) -> Iterator[DoctorFinding]:
    """Whether each node, by its name, has what this machine has, which has no name."""
    here = versions[""]
    for node, found in versions.items():
        if not node:
            continue
        if found == here:
            yield ok("cluster", f"node {node} has {found}", _WHERE)
        else:
            yield problem(
                "cluster",
                f"node {node} of the cluster has {found}, and this machine {here}",
                _WHERE,
                "Install the same versions on all nodes.",
            )
