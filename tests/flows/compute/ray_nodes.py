"""Several raylets on this machine, as the nodes of a cluster.

`python ray_nodes.py NODES CPUS GPUS` prints one line of JSON once they are up, and ends them when
its standard input closes.
"""

import json
import os
import sys
import threading
import time
from contextlib import suppress

MIB = 2**20
PATIENCE_S = 300


def be_patient() -> None:
    """Ray waits half a minute for a raylet, which may take longer to start on a busy machine."""
    from ray._private import services

    ask = services.get_node

    def get_node(*arguments: object) -> object:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    services.get_node = get_node


def main(nodes: int, cpus: int, gpus: int = 0) -> None:
    from ray.cluster_utils import Cluster

    be_patient()
    memory = {"object_store_memory": 80 * MIB, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **memory})
    started = [
        cluster.add_node(num_cpus=cpus, num_gpus=gpus, node_name=f"node{number}", **memory)
        for number in range(nodes)
    ]
    processes = {
        f"node{number}": [p.process for each in node.all_processes.values() for p in each]
        for number, node in enumerate(started)
    }
    raylets = {
        f"node{number}": node.all_processes["raylet"][0].process.pid
        for number, node in enumerate(started)
    }

    def reap() -> None:
        """A raylet that was killed and not waited for would look alive to its workers."""
        while True:
            for each in processes.values():
                for process in each:
                    process.poll()
            time.sleep(0.1)

    threading.Thread(target=reap, daemon=True).start()
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback alone
    os.environ["RAY_agent_register_timeout_ms"] = "300000"  # noqa: SIM112  (its name)
    main(*map(int, sys.argv[1:]))
