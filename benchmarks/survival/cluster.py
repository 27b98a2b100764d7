"""Where a disturbed campaign may run: a Ray cluster whose nodes are killed, and a bucket."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from benchmarks.survival.processes import CHILDREN, ROOT
from tests.living import living

_NODES, _CPUS = 2, 1
_MARK = "RATCHET_SURVIVAL_CLUSTER"


class Cluster:
    """Raylets of this machine. A context manager.

    folder: where nodes find users' functions. bucket: of the campaign that runs on it.
    """

    def __init__(self, folder: Path, bucket: Path) -> None:
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        self.variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32)}
        name, value = self._mark.split("=")
        script = ROOT / "tests" / "flows" / "compute" / "ray_nodes.py"
        path = f"{ROOT}:{folder}"
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(_NODES), str(_CPUS)],
            env={**os.environ, **self.variables, "PYTHONPATH": path, name: value},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self._answer()
        self._raylets: dict[str, int] = said["raylets"]
        address, url = f"compute.address={said['address']}", f"storage.url=file://{bucket}"
        settings = ("compute.kind=ray", address, url, "storage.lease_s=1")
        self.settings = tuple(part for each in settings for part in ("--set", each))

    def kill_node(self, chance: random.Random) -> bool:
        """One of the nodes, in whose place there is another one after some seconds."""
        name = chance.choice(sorted(self._raylets))
        os.kill(self._raylets.pop(name), signal.SIGKILL)
        time.sleep(chance.uniform(0.0, 5.0))
        assert self._process.stdin is not None
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        self._raylets |= self._answer()["raylets"]
        return True

    def children(self) -> dict[int, str]:
        """Those of campaigns, on all nodes."""
        return {pid: words for pid, words in living(self._mark).items() if CHILDREN in words}

    def _answer(self) -> dict[str, dict[str, int]]:
        assert self._process.stdout is not None
        found: dict[str, dict[str, int]] = json.loads(self._process.stdout.readline())
        return found

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        for pid in living(self._mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
