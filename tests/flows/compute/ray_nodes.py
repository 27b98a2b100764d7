"""Several raylets on this machine, as the nodes of a cluster.

`python ray_nodes.py NODES CPUS GPUS` prints one line of JSON once they are up, another one for the
node that each line of its standard input adds, and ends them when that closes.
"""

import json
import os
import sys
import threading
import time
from contextlib import suppress

MIB = 2**20


def main(nodes: int, cpus: int, gpus: int = 0) -> None:
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80 * MIB, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **memory})
    processes = []

    def add(number: int) -> dict[str, int]:
        """The raylet's process by the node's name."""
        name = f"node{number}"
        node = cluster.add_node(num_cpus=cpus, num_gpus=gpus, node_name=name, **memory)
        processes.extend(p.process for each in node.all_processes.values() for p in each)
        return {name: node.all_processes["raylet"][0].process.pid}

    raylets = {name: pid for number in range(nodes) for name, pid in add(number).items()}

    def reap() -> None:
        """A raylet that was killed and not waited for would look alive to its workers."""
        while True:
            for process in list(processes):
                process.poll()
            time.sleep(0.1)

    threading.Thread(target=reap, daemon=True).start()
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    with suppress(KeyboardInterrupt):
        for number, _ in enumerate(sys.stdin, start=nodes):
            print(json.dumps({"raylets": add(number)}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback alone
    main(*map(int, sys.argv[1:]))
